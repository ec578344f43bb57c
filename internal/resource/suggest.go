package resource

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// nearest returns the name that word is probably a slip of, "" for none.
func nearest(word string, names []string) string {
	best, at := "", 0
	for _, n := range names {
		d := distance(fold(word), fold(n))
		if limit := max(1, min(len(word), len(n))/3); d > limit {
			continue
		}
		if best == "" || d < at {
			best, at = n, d
		}
	}
	return best
}

// didYouMean is the end of a sentence about a word that is none of names.
func didYouMean(word string, names []string) string {
	if n := nearest(word, names); n != "" {
		return "; did you mean " + strconv.Quote(n) + "?"
	}
	return ""
}

// fold makes tokenUrl, token-url and token_url the same.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
}

// distance is the number of single-character slips between a and b, two
// neighbours in the wrong order being one.
func distance(a, b string) int {
	if utf8.RuneCountInString(a) > 64 || utf8.RuneCountInString(b) > 64 {
		return 64
	}
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
