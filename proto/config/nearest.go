package config

import (
	"slices"
	"strconv"
	"strings"
)

// maxQuoted is how much of a file's text a finding repeats, in bytes, and what a mistyped name is no longer than.
const maxQuoted = 100

// quote returns text as a finding shows it.
func quote(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(strings.ToValidUTF8(text[:maxQuoted], "")) + "…"
	}
	return strconv.Quote(text)
}

// nearest returns the name that was most likely meant by text, "" where none is near: it takes at most one change
// for every three characters, and at most three changes, to make one of the other.
func nearest(text string, names []string) string {
	if len(text) > maxQuoted {
		return ""
	}
	text = strings.ToLower(text)
	limit := min(3, max(1, len(text)/3))
	best, found := limit+1, ""
	for _, name := range names {
		difference := len(name) - len(text)
		if difference >= best || -difference >= best {
			continue
		}
		if d := distance(text, strings.ToLower(name), best); d < best {
			best, found = d, name
		}
	}
	return found
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that make b of a (optimal
// string alignment). It gives up at limit.
func distance(a, b string, limit int) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		if slices.Min(row) >= limit {
			return limit
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// suggestion returns the end of a finding about a name that is not known: the one that was meant, or all.
func suggestion(text string, names []string) string {
	if len(names) == 0 {
		return "; none is defined"
	}
	if meant := nearest(text, names); meant != "" {
		return "; did you mean " + strconv.Quote(meant) + "?"
	}
	const shown = 10
	if len(names) > shown {
		return "; defined: " + strings.Join(names[:shown], ", ") + " and " + strconv.Itoa(len(names)-shown) + " more"
	}
	return "; defined: " + strings.Join(names, ", ")
}
