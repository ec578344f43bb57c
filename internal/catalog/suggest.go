package catalog

import "strings"

// Suggest returns the names of built-in providers that a person who wrote name
// may have meant, the likeliest first, at most five: xero-accounting, Xero and
// xreo all find xero.
func Suggest(name string) []string {
	want := fold(name)
	if want == "" {
		return nil
	}
	const most = 5
	var found [4][]string // by how near they are
	for _, n := range Names() {
		have := fold(n)
		switch d := slips(want, have); {
		case have == want:
			found[0] = append(found[0], n)
		case strings.HasPrefix(have, want) || len(have) > 2 && strings.HasPrefix(want, have):
			found[1] = append(found[1], n)
		case d <= max(1, min(len(want), len(have))/4):
			found[2] = append(found[2], n)
		case len(want) > 2 && strings.Contains(have, want) || len(have) > 2 && strings.Contains(want, have):
			found[3] = append(found[3], n)
		}
	}
	var out []string
	for _, f := range found {
		out = append(out, f...)
	}
	return out[:min(most, len(out))]
}

// fold leaves the letters and digits of s, in lower case.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}

// slips is how many letters were left out, put in, changed or swapped with
// their neighbour on the way from a to b.
func slips(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
