package convert

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ocicache/ocicache/buildcache"
)

// Limits are pruning rules as people write them, on command lines and in plans. Rules tells what they mean at a given time.
type Limits struct {
	OlderThan   string `json:"older_than,omitempty"` // as ParseSince reads it
	Leaves      bool   `json:"leaves,omitempty"`
	KeepRecords int    `json:"keep_records,omitempty"` // 0 for all
	KeepBytes   string `json:"keep_bytes,omitempty"`   // such as 5GB, "" for all
	Fit         bool   `json:"fit,omitempty"`
}

// LimitError says which of the limits is invalid.
type LimitError struct {
	Rule buildcache.PruneRule
	Err  error
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s: %v", e.Rule, e.Err) }

// Unwrap returns why.
func (e *LimitError) Unwrap() error { return e.Err }

// Rules returns the limits as rules, with ages counted back from now. It fails with a *LimitError.
func (l Limits) Rules(now time.Time) (buildcache.PruneRules, error) {
	rules := buildcache.PruneRules{Leaves: l.Leaves, MaxRecords: l.KeepRecords, Fit: l.Fit}
	if l.OlderThan != "" {
		var err error
		if rules.Before, err = ParseSince(l.OlderThan, now); err != nil {
			return rules, &LimitError{buildcache.PruneBefore, err}
		}
	}
	if l.KeepRecords < 0 {
		return rules, &LimitError{buildcache.PruneMaxRecords, fmt.Errorf("%d: want 1 or more, or 0 for all", l.KeepRecords)}
	}
	if l.KeepBytes != "" {
		var err error
		if rules.MaxBytes, err = ParseSize(l.KeepBytes); err != nil {
			return rules, &LimitError{buildcache.PruneMaxBytes, err}
		}
	}
	return rules, nil
}

// ParseSize reads a number of bytes above 0, with or without a unit. A comma is refused: to some it is a decimal point.
func ParseSize(text string) (int64, error) {
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes == 0 || bytes > math.MaxInt64 || strings.Contains(text, ",") {
		return 0, fmt.Errorf("%q: want a size above 0, such as 5GB, 500MiB or 1000000", text)
	}
	return int64(bytes), nil
}

// String returns the limits in words. They differ if what is left of a cache may differ.
func (l Limits) String() string {
	var words []string
	if l.OlderThan != "" {
		words = append(words, string(buildcache.PruneBefore), l.OlderThan)
	}
	if l.Leaves {
		words = append(words, string(buildcache.PruneLeaves))
	}
	if l.KeepRecords != 0 {
		words = append(words, string(buildcache.PruneMaxRecords), fmt.Sprint(l.KeepRecords))
	}
	if l.KeepBytes != "" {
		words = append(words, string(buildcache.PruneMaxBytes), l.KeepBytes)
	}
	if l.Fit {
		words = append(words, string(buildcache.PruneFit))
	}
	return strings.Join(words, " ")
}
