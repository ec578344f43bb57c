package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// A format is how a command prints data.
type format struct {
	Output string `short:"o" default:"table" enum:"table,json" placeholder:"FORMAT" help:"table or json."`
}

func (f format) json() bool { return f.Output == "json" }

// printJSON writes v for programs and for people who look.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// A table is rows of text under a head, printed with columns as wide as need be.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = plain(cells[i])
		if cells[i] == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) error {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			b.WriteString(c)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plain makes text that came from elsewhere safe for a terminal and one line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r):
			return '?'
		}
		return r
	}, s)
}

// relative says when t is, seen from now: in 23m, 2h ago.
func relative(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	d := t.Sub(now)
	if d >= 0 {
		return "in " + span(d)
	}
	return span(-d) + " ago"
}

// span is a length of time in its two largest units.
func span(d time.Duration) string {
	s := int64(math.Round(d.Seconds()))
	switch {
	case s < 100:
		return fmt.Sprintf("%ds", s)
	case s < 3570: // from there on it is an hour in round minutes
		return fmt.Sprintf("%dm", (s+30)/60)
	case s < 10*3600 && (s+30)/60%60 > 0:
		return fmt.Sprintf("%dh%02dm", (s+30)/3600, (s+30)/60%60)
	case s < 48*3600:
		return fmt.Sprintf("%dh", (s+1800)/3600)
	}
	return fmt.Sprintf("%dd", (s+43200)/86400)
}

// A progress tells how far long work is: on a terminal on one line that is
// written over, elsewhere a line for each step.
type progress struct {
	w        io.Writer
	terminal bool
	last     int
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && isatty.IsTerminal(f.Fd())}
}

func (p *progress) step(format string, args ...any) {
	s := plain(fmt.Sprintf(format, args...))
	if !p.terminal {
		fmt.Fprintln(p.w, s)
		return
	}
	pad := max(0, p.last-utf8.RuneCountInString(s))
	fmt.Fprintf(p.w, "\r%s%s", s, strings.Repeat(" ", pad))
	p.last = utf8.RuneCountInString(s)
}

// done clears the line.
func (p *progress) done() {
	if p.terminal && p.last > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.last))
		p.last = 0
	}
}
