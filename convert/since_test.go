package convert_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ocicache/ocicache/convert"
)

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 9, 30, 0, 0, time.UTC)
	day := 24 * time.Hour
	for text, want := range map[string]time.Time{
		"30d": now.Add(-30 * day), "1.5d": now.Add(-36 * time.Hour), "2w": now.Add(-14 * day), "0w": now, "0s": now, "0m": now, "1ms": now.Add(-time.Millisecond), "12h": now.Add(-12 * time.Hour),
		"2026-11-01": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "2026-11-30": time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), "36500d": now.Add(-36500 * day),
	} {
		if got, err := convert.ParseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "d", "w", "30", "-1d", "-0d", "-1h", "2 w", "infd", "nand", "36501d", "5215w", "2026-12-01", "2026-11-31", "1026-11-01", "2026-11", "1m2w", "soon",
	} {
		if got, err := convert.ParseSince(text, now); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
	// Minutes alone would delete by what others call months.
	for text, want := range map[string]string{"6m": "180d", "6M": "180d", "0M": "0s", "1 month": "30d", "5min": "0h5m", "5 minutes": "0h5m", "3": "3d", "2 hours": "2h"} {
		var age *convert.AgeError
		if _, err := convert.ParseSince(text, now); !errors.As(err, &age) || age.Meant != want {
			t.Errorf("%q: %v, want it to mean %s", text, err, want)
		} else if _, err := convert.ParseSince(age.Meant, now); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A comma is a decimal point to some, and nothing to others.
func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"5GB": 5e9, "8.5kB": 8500, "1MiB": 1 << 20, "10": 10, "8,5kB": 0, "1,000": 0, "0": 0, "-1": 0, "": 0} {
		if got, err := convert.ParseSize(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}
