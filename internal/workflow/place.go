package workflow

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// places finds line and column of an offset without reading the file again
// from its beginning: an export is one line of some hundred kilobytes, and
// everything in it has a place.
type places struct {
	src   []byte
	lines []int // where each line begins
	runes []int // characters before every stride-th byte
}

const stride = 1 << 10

func newPlaces(src []byte) *places {
	p := &places{src: src, lines: []int{0}}
	if bytes.HasPrefix(src, bom) {
		p.lines[0] = len(bom)
	}
	n := 0
	for i, c := range src {
		if i%stride == 0 {
			p.runes = append(p.runes, n)
		}
		if utf8.RuneStart(c) {
			n++
		}
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	p.runes = append(p.runes, n)
	return p
}

// before counts the characters that begin before an offset.
func (p *places) before(at int) int {
	n := p.runes[at/stride]
	for _, c := range p.src[at/stride*stride : at] {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}

func (p *places) at(offset int, path string) Place {
	offset = min(offset, len(p.src))
	line, ok := slices.BinarySearch(p.lines, offset)
	if !ok {
		line--
	}
	line = max(line, 0)
	return Place{Path: path, Line: line + 1, Column: max(0, p.before(offset)-p.before(p.lines[line])) + 1}
}
