package importer

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// Limits of what is unpacked.
const (
	MaxEntries = 2000     // of a zip
	MaxTotal   = 64 << 20 // bytes that a zip unpacks to
)

// A File is one workflow definition.
type File struct {
	Name string // where it came from: FILE or ZIP/ENTRY
	Data []byte
}

// A Skipped part is one that did not come over.
type Skipped struct {
	File string `json:"file"`
	What string `json:"what"`         // what it is
	Why  string `json:"why"`          // why it did not come over
	Do   string `json:"do,omitempty"` // what to do about it
}

// An UnsupportedError is a file of a format that this version does not import.
type UnsupportedError struct {
	File, What string
}

// Error says that the format is not in this version.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s is %s: importing those is not in this version", e.File, e.What)
}

// Open takes the workflows out of a file. The error is an *UnsupportedError, a
// *workflow.SyntaxError with the file's name before it, or what is wrong with a
// zip.
func Open(name string, b []byte) (files []File, skipped []Skipped, err error) {
	if bytes.HasPrefix(b, []byte("PK\x03\x04")) || bytes.HasPrefix(b, []byte("PK\x05\x06")) {
		return openZip(name, b)
	}
	if what := foreign(b); what != "" {
		return nil, nil, &UnsupportedError{name, what}
	}
	if _, _, err := workflow.Parse(b); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return []File{{name, b}}, nil, nil
}

var scriptObject = regexp.MustCompile(`^\s*(/\*[\s\S]*?\*/\s*|//[^\n]*\n\s*)*export\s+default\b`)

// Script reports whether a file is a JavaScript object of an app.
func Script(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	return scriptObject.Match(b[:min(len(b), 64<<10)])
}

// foreign names the format of a file that is none of a workflow; "": it may be
// one.
func foreign(b []byte) string {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if scriptObject.Match(b[:min(len(b), 64<<10)]) {
		return "a JavaScript object of Appsmith"
	}
	if len(b) > workflow.MaxFile || !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
		return ""
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(b, &top) != nil || top["activities"] != nil || top["definitionId"] != nil {
		return ""
	}
	if top["actions"] != nil || top["triggers"] != nil || top["credentials"] != nil {
		return "a component descriptor of elastic.io"
	}
	if top["workflows"] != nil && top["types"] != nil || top["plugins"] != nil {
		return "the description of a Solution"
	}
	return ""
}

func openZip(name string, b []byte) (files []File, skipped []Skipped, err error) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: the zip does not read: it is damaged or cut off", name)
	}
	if len(z.File) > MaxEntries {
		return nil, nil, fmt.Errorf("%s: the zip has %d entries; at most %d are read", name, len(z.File), MaxEntries)
	}
	total := 0
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		at := name + "/" + path.Base(strings.ReplaceAll(f.Name, "\\", "/"))
		if !strings.EqualFold(path.Ext(f.Name), ".json") {
			skipped = append(skipped, plugin(at))
			continue
		}
		data, err := read(f)
		switch {
		case errors.Is(err, errLarge):
			skipped = append(skipped, Skipped{at, "a file", fmt.Sprintf("it unpacks to more than the %d MiB that a definition may have", workflow.MaxFile>>20), ""})
			continue
		case err != nil:
			skipped = append(skipped, Skipped{at, "a file", "it does not unpack: the zip is damaged there", "get the zip again"})
			continue
		}
		if total += len(data); total > MaxTotal {
			return nil, nil, fmt.Errorf("%s: the zip unpacks to more than %d MiB", name, MaxTotal>>20)
		}
		if strings.EqualFold(path.Base(f.Name), "SOLUTION_DETAILS.json") {
			skipped = append(skipped, details(at, data))
			continue
		}
		more, also, err := Open(at, data)
		if err != nil {
			skipped = append(skipped, Skipped{at, "a file", strings.TrimPrefix(err.Error(), at+": "), ""})
			continue
		}
		files, skipped = append(files, more...), append(skipped, also...)
	}
	return files, skipped, nil
}

var errLarge = errors.New("too large")

// read unpacks one entry. The size that the zip declares is nobody's promise.
func read(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, workflow.MaxFile+1))
	if err == nil && len(b) > workflow.MaxFile {
		err = errLarge
	}
	return b, err
}

func plugin(at string) Skipped {
	switch strings.ToLower(path.Ext(at)) {
	case ".zip", ".dll", ".nupkg", ".exe", ".so":
		return Skipped{at, "a plugin", "programs of the platform are never run here", "its activities are of unknown types: replace them by those of docs/activities.md"}
	}
	return Skipped{at, "a file", "only workflows are imported", ""}
}

// details lists the tables that a Solution describes.
func details(at string, b []byte) Skipped {
	s := Skipped{at, "the description of the Solution", "tables, views and plugins are not imported from it", "the workflows whose names begin with SETUP make its tables; or declare them under tables:"}
	var d struct {
		Types, Tables []struct {
			Name        string
			DisplayName string
		}
	}
	if json.Unmarshal(bytes.TrimPrefix(b, []byte("\ufeff")), &d) == nil {
		var names []string
		for _, t := range append(d.Types, d.Tables...) {
			if t.Name != "" {
				names = append(names, t.Name)
			}
		}
		if len(names) > 0 {
			s.What += ", with the tables " + strings.Join(names, ", ")
		}
	}
	return s
}

var unfit = regexp.MustCompile(`[^\p{L}\p{N} ._()&,+'-]+`)

// NameOf is what a workflow goes by here: as the file says, else as its title
// or the name of the file says, without characters that no name has.
func NameOf(d *workflow.Definition, file string) string {
	base := path.Base(strings.ReplaceAll(file, "\\", "/"))
	for _, s := range []string{d.Name, d.DisplayName, strings.TrimSuffix(base, path.Ext(base))} {
		s = strings.TrimLeft(strings.TrimSpace(unfit.ReplaceAllString(s, "-")), " ._()&,+'-")
		if r := []rune(s); len(r) > 120 {
			s = string(r[:120])
		}
		if s = strings.TrimRight(s, " &,"); s != "" {
			return s
		}
	}
	return "workflow"
}
