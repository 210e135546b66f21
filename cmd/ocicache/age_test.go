package main

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 9, 30, 0, 0, time.UTC)
	day := 24 * time.Hour
	for since, want := range map[time.Duration]string{
		0: "now", 3 * time.Hour: "3 hours ago", day: "1 day ago", 14 * day: "14 days ago", 20 * day: "20 days ago", 56 * day: "56 days ago",
		59 * day: "59 days ago", 60 * day: "2 months ago", 350 * day: "11 months ago", 400 * day: "1 year ago", 800 * day: "2 years ago", -2 * day: "2 days from now",
	} {
		at := now.Add(-since)
		if got := age(&at, now); got != want {
			t.Errorf("%v: %q, want %q", since, got, want)
		}
	}
	if got := age(nil, now); got != "-" {
		t.Errorf("unknown: %q", got)
	}
}
