package main

import (
	"math"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ocicache/ocicache/convert"
)

// parseAge reads an age as convert.ParseSince does.
func parseAge(text string) (time.Duration, error) {
	now := time.Now()
	since, err := convert.ParseSince(text, now)
	return now.Sub(since), err
}

// ageUnits are those of humanize, except that days are counted up to two months, because that is how caches differ in age.
var ageUnits = []humanize.RelTimeMagnitude{
	{D: time.Second, Format: "now", DivBy: time.Second},
	{D: 2 * time.Second, Format: "1 second %s", DivBy: 1},
	{D: time.Minute, Format: "%d seconds %s", DivBy: time.Second},
	{D: 2 * time.Minute, Format: "1 minute %s", DivBy: 1},
	{D: time.Hour, Format: "%d minutes %s", DivBy: time.Minute},
	{D: 2 * time.Hour, Format: "1 hour %s", DivBy: 1},
	{D: humanize.Day, Format: "%d hours %s", DivBy: time.Hour},
	{D: 2 * humanize.Day, Format: "1 day %s", DivBy: 1},
	{D: 2 * humanize.Month, Format: "%d days %s", DivBy: humanize.Day},
	{D: humanize.Year, Format: "%d months %s", DivBy: humanize.Month},
	{D: 2 * humanize.Year, Format: "1 year %s", DivBy: 1},
	{D: humanize.LongTime, Format: "%d years %s", DivBy: humanize.Year},
	{D: math.MaxInt64, Format: "a long while %s", DivBy: 1},
}

// age says in words how long ago something was.
func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return humanize.CustomRelTime(*t, now, "ago", "from now", ageUnits)
}
