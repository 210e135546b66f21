package convert

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// AgeExamples shows how ages are written, for help and messages.
const AgeExamples = "30d, 2w, 12h or 2026-11-01"

// maxAge is the largest age that is accepted, in days.
const maxAge = 100 * 365

// ParseSince reads an age, and returns the time that it goes back to: a duration as Go writes it, a number of days or weeks, or a day in
// UTC, from its beginning. It fails with an *AgeError for other text, and for minutes alone, such as 6m, which mean months elsewhere:
// a mistake would delete far too much. None of them is none of either.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if day.After(now) || now.Sub(day) > maxAge*24*time.Hour {
			return now, fmt.Errorf("invalid age %s: want a day within the last hundred years, not in the future", text)
		}
		return day, nil
	}
	if isNone := strings.Trim(text, "0") == "m"; strings.EqualFold(unitOf(text), "m") && !isNone {
		return now, &AgeError{Text: text, Meant: meantAge(text), Unclear: true}
	}
	age, err := time.ParseDuration(text)
	if err != nil && text != "" {
		days, known := map[byte]float64{'d': 1, 'w': 7}[text[len(text)-1]]
		n, failed := strconv.ParseFloat(text[:len(text)-1], 64)
		if known && failed == nil && n*days <= maxAge && !math.Signbit(n) {
			age, err = time.Duration(n*days*float64(24*time.Hour)), nil
		}
	}
	if err != nil || age < 0 {
		return now, &AgeError{Text: text, Meant: meantAge(text)}
	}
	return now.Add(-age), nil
}

// AgeError says that a text is not an age.
type AgeError struct {
	Text  string
	Meant string // the age that was probably meant, spelled as one; "" if that can't be told
	// Unclear says that its unit may be minutes or months.
	Unclear bool
}

func (e *AgeError) Error() string {
	if e.Unclear {
		return fmt.Sprintf("invalid age %q: it could be minutes or months; use for example %s", e.Text, AgeExamples)
	}
	return fmt.Sprintf("invalid age %q: use for example %s", e.Text, AgeExamples)
}

// wordyAge matches an age with its unit as a word.
var wordyAge = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^(\d+)\s*((?:d|w|h|m|y)|(?:day|week|hour|hr|min|minute|month|year)s?)?$`)
})

// unitOf returns the unit of an age that is one number with one unit, "" if it has none.
func unitOf(text string) string {
	if m := wordyAge().FindStringSubmatch(text); m != nil {
		return m[2]
	}
	return ""
}

// meantAge returns the age that was probably meant by a text, or "".
func meantAge(text string) string {
	m := wordyAge().FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n > maxAge {
		return ""
	}
	if n == 0 {
		return "0s" // of any unit
	}
	switch unit := strings.TrimSuffix(strings.ToLower(m[2]), "s"); unit {
	case "": // most ages are in days
		return m[1] + "d"
	case "min", "minute":
		return "0h" + m[1] + "m"
	case "month", "m":
		return strconv.Itoa(n*30) + "d"
	case "year", "y":
		return strconv.Itoa(n*365) + "d"
	default:
		return m[1] + unit[:1]
	}
}
