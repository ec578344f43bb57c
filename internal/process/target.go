package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/schedule"
)

// Target is the target of schedules that press something of a process. Without
// an instance each firing makes a new one; a request that fires on demand may
// name one as instanceID.
func (p *Processes) Target() schedule.Target {
	return schedule.TargetFunc(func(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
		if f.When == nil || f.When.Process == "" {
			return schedule.Outcome{}, errors.New("the schedule names no process")
		}
		q := Press{Process: f.When.Process, Instance: f.When.Instance, Trigger: f.When.Trigger, Cause: "schedule:" + f.Name, Key: f.Key}
		if len(f.Input) > 0 && q.Instance == "" {
			var in struct {
				InstanceID string `json:"instanceID"`
			}
			if json.Unmarshal(f.Input, &in) == nil {
				q.Instance = in.InstanceID
			}
		}
		r, err := p.Press(ctx, q)
		if dup, ok := errors.AsType[*run.DuplicateError](err); ok {
			// An earlier attempt at this firing began it, and the process ended.
			v, err := p.o.Journal.Get(ctx, dup.Run)
			if err == nil && v.Status != run.Finished {
				err = fmt.Errorf("the run is %s", v.Status)
				if v.Fault != nil {
					err = fmt.Errorf("the run faulted: %s", v.Fault.Message)
				}
			}
			return schedule.Outcome{Run: dup.Run}, err
		}
		if err != nil {
			return schedule.Outcome{}, err
		}
		out := schedule.Outcome{Run: r.RunID}
		switch {
		case r.Fault != nil:
			return out, fmt.Errorf("%s (%s): %s", r.Fault.Type, r.Fault.Activity, r.Fault.Message)
		case !r.Saved:
			out.Message = "nothing was saved"
		default:
			out.Message = "saved " + r.Instance.ID
			if !r.Instance.ExpiresAt.IsZero() {
				out.Message += ", expires " + r.Instance.ExpiresAt.UTC().Format(time.RFC3339)
			}
		}
		return out, nil
	})
}
