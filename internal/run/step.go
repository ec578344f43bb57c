package run

import (
	"encoding/json"
	"strconv"
	"time"
)

// stored is a step in a row of run_steps: with names of one letter, because
// there are thousands a second.
type stored struct {
	At       int64           `json:"t"` // Unix milliseconds
	Event    string          `json:"e,omitempty"`
	Activity string          `json:"a,omitempty"`
	Type     string          `json:"y,omitempty"`
	Name     string          `json:"n,omitempty"`
	Duration int64           `json:"d,omitempty"` // microseconds
	Outcomes []string        `json:"o,omitempty"`
	Message  string          `json:"m,omitempty"`
	Inputs   json.RawMessage `json:"i,omitempty"`
	Data     json.RawMessage `json:"x,omitempty"`
	Error    string          `json:"f,omitempty"`
	Child    string          `json:"c,omitempty"`
}

// appendStep appends a step as it is kept.
func (m *mask) appendStep(b []byte, s *Step) []byte {
	grown := m.grown
	// Inputs and data first: their names may tell of values that the message
	// holds, too.
	inputs, data := m.object(s.Inputs), m.object(s.Data)
	if m.grown != grown && m.holdsFresh(string(inputs)) {
		inputs = m.object(s.Inputs)
	}
	b = append(b, `{"t":`...)
	b = strconv.AppendInt(b, s.At.UnixMilli(), 10)
	text := func(name, v string, limit int, hide bool) {
		if v == "" {
			return
		}
		if hide {
			v = m.short(v, limit)
		} else {
			v = cut(v, limit)
		}
		b = append(b, `,"`...)
		b = append(b, name...)
		b = append(b, `":`...)
		b = appendQuoted(b, v)
	}
	text("e", s.Event, maxName, false)
	text("a", s.Activity, maxName, false)
	text("y", s.Type, maxName, false)
	text("n", s.Name, maxName, true)
	if s.Duration > 0 {
		b = append(b, `,"d":`...)
		b = strconv.AppendInt(b, s.Duration.Microseconds(), 10)
	}
	if len(s.Outcomes) > 0 {
		b = append(b, `,"o":[`...)
		for i, o := range s.Outcomes[:min(len(s.Outcomes), 64)] {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, m.short(o, maxName))
		}
		b = append(b, ']')
	}
	text("m", s.Message, maxText, true)
	if inputs != nil {
		b = append(append(b, `,"i":`...), inputs...)
	}
	if data != nil {
		b = append(append(b, `,"x":`...), data...)
	}
	text("f", s.Error, maxText, true)
	text("c", s.Child, idLength, false)
	return append(b, '}')
}

// againStep masks a kept step with what is known now.
func (m *mask) againStep(raw json.RawMessage) json.RawMessage {
	var s stored
	if json.Unmarshal(raw, &s) != nil {
		return raw // not ours: somebody has written it by hand
	}
	hidden := m.hidden
	s.Inputs, s.Data = m.again(s.Inputs), m.again(s.Data)
	s.Name, s.Message, s.Error = m.text(s.Name), m.text(s.Message), m.text(s.Error)
	for i, o := range s.Outcomes {
		s.Outcomes[i] = m.text(o)
	}
	if m.hidden == hidden {
		return raw
	}
	out, err := json.Marshal(&s)
	if err != nil {
		return raw // cannot be: it was JSON
	}
	return out
}

// record reads a kept step.
func record(number int, raw json.RawMessage) Record {
	var s stored
	if err := json.Unmarshal(raw, &s); err != nil {
		return Record{Number: number, Error: "this step does not read: the table was written by hand"}
	}
	return Record{Number: number, At: time.UnixMilli(s.At).UTC(), Event: s.Event, Activity: s.Activity, Type: s.Type, Name: s.Name,
		Duration: time.Duration(s.Duration) * time.Microsecond, Outcomes: s.Outcomes, Message: s.Message, Inputs: s.Inputs, Data: s.Data, Error: s.Error, Child: s.Child}
}

// join makes one list of kept steps.
func join(steps []json.RawMessage) string {
	n := 2
	for _, s := range steps {
		n += len(s) + 1
	}
	b := make([]byte, 0, n)
	for _, s := range steps {
		b = append(append(b, ','), s...)
	}
	if len(b) == 0 {
		return ""
	}
	b[0] = '['
	return string(append(b, ']'))
}
