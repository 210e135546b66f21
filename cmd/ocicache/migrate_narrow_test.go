package main

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/ocicache/ocicache/migrate"
)

// TestNarrowAddsUp says that what a narrow terminal shows of each migration adds up to its caches.
func TestNarrowAddsUp(t *testing.T) {
	t.Parallel()
	s := &migrate.Summary{}
	s.Counts = migrate.Counts{Planned: 27, Before: 15, Became: migrate.Became{Done: 4, There: 2, Failed: 3, NotTried: 2, Interrupted: 1}}
	s.Migrations = []*migrate.Result{{Source: "docker://old.example.com/team/app/cache", Target: "docker://new.example.com/caches/team/app", Counts: s.Counts}}
	number := regexp.MustCompile(`(?m)^ +(?:copied|already there|done before|not copied|to copy|would fail) +(.*)$`)
	for name, render := range map[string]func(*page) error{
		"run":   func(p *page) error { return runResult{Summary: s}.render(p) },
		"check": func(p *page) error { d := *s; d.Dry = true; return checkResult{&d}.render(p) },
	} {
		p := &page{width: 80}
		if err := render(p); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, m := range number.FindAllStringSubmatch(p.text(), -1) {
			for _, digits := range regexp.MustCompile(`\d+`).FindAllString(m[1], -1) {
				n, err := strconv.Atoi(digits)
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
		if sum != s.Planned {
			t.Errorf("%s: %d of %d caches in\n%s", name, sum, s.Planned, p.text())
		}
	}
}
