package engine

import (
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A LimitError says which limit ended a run.
type LimitError struct {
	Limit string // steps, time, depth, size
	Text  string
}

// Error says what happened and what to do.
func (e *LimitError) Error() string { return e.Text }

func stepsExceeded(n int) error {
	return &LimitError{"steps", fmt.Sprintf("the run has executed %d activities, which is the limit; a loop that does not end?", n)}
}

func timeExceeded(d time.Duration) error {
	return &LimitError{"time", fmt.Sprintf("the run has been running for %v, which is the limit", d)}
}

func depthExceeded(n int) error {
	return &LimitError{"depth", fmt.Sprintf("workflows call each other %d levels deep, which is the limit; do they call each other in a circle?", n)}
}

func sizeExceeded(n int) error {
	return &LimitError{"size", fmt.Sprintf("the run keeps more than %d bytes in variables and outputs, which is the limit; keep less, or filter sooner", n)}
}

// weigh returns roughly how many bytes a value takes, and stops counting
// beyond most.
func weigh(v any, most int) int {
	n := 16
	switch v := v.(type) {
	case string:
		n += len(v)
	case model.JSON:
		n += len(v)
	case []byte:
		n += len(v)
	case []any:
		for _, x := range v {
			if n += weigh(x, most-n); n > most {
				break
			}
		}
	case map[string]any:
		for k, x := range v {
			if n += 16 + len(k) + weigh(x, most-n); n > most {
				break
			}
		}
	case *model.Object:
		if v == nil {
			break
		}
		for _, m := range v.Members() {
			if n += 16 + len(m.Name) + weigh(m.Value, most-n); n > most {
				break
			}
		}
	}
	return n
}
