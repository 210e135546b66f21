// Package meant finds the known words that somebody probably meant by an unknown one.
package meant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
)

// Ask asks whether one of the words was meant, or returns "" if there are none.
func Ask(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf("did you mean %s?", english.WordSeries(words, "or"))
}

// Of returns the words that somebody probably meant: the plural in -ies of a word in -y, else up to three words that begin with the word,
// else those with the fewest slips between, if they are few.
func Of(typed string, words []string) []string {
	typed = strings.ToLower(typed)
	if stem, ok := strings.CutSuffix(typed, "y"); ok && slices.Contains(words, stem+"ies") {
		return []string{stem + "ies"}
	}
	var begun, near []string
	fewest := max(1, len(typed)/3)
	for _, word := range words {
		if len(typed) > 1 && strings.HasPrefix(word, typed) {
			begun = append(begun, word)
		}
		switch n := slips(typed, word); {
		case n < fewest:
			near, fewest = []string{word}, n
		case n == fewest:
			near = append(near, word)
		}
	}
	if len(begun) > 0 && len(begun) <= 3 {
		return begun
	}
	return near
}

// slips counts the letters that were added, left out, changed or swapped with their neighbours between two words: the optimal
// string alignment distance.
func slips(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			changed := last[j]
			if a[i] != b[j] {
				changed++
			}
			row[j+1] = min(changed, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
