package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Instances finds saved instances; *store.Store is one.
type Instances interface {
	ProcessInstance(ctx context.Context, name string) (store.ProcessInstance, error)
}

// A Checker looks at services, processes and what schedules name of them, before
// they are kept.
type Checker struct{ Store Instances }

// CheckService is the function of the name.
func (Checker) CheckService(s *freshet.Service, report func(fault bool, field, detail string)) {
	CheckService(s, report)
}

// CheckProcess is the function of the name.
func (Checker) CheckProcess(p *freshet.Process, service func(name string) *freshet.Service, report func(fault bool, field, detail string)) {
	CheckProcess(p, service, report)
}

// CheckTrigger returns why a process has nothing that a trigger names.
func (Checker) CheckTrigger(p *freshet.Process, trigger string) error {
	_, err := triggered(p, trigger)
	return err
}

// Seeded reports whether the seeds of a process are all there.
func (c Checker) Seeded(ctx context.Context, p *freshet.Process) (bool, error) {
	for i := range p.Instances {
		_, err := c.Store.ProcessInstance(ctx, fmt.Sprintf("%s-%d", p.Name, i+1))
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// Lifetime returns how long the token of an instance lives: as it was saved, else
// as the seed says that it will be. ok: there is, or will be, such an instance.
func (c Checker) Lifetime(ctx context.Context, p *freshet.Process, instance string) (d time.Duration, ok bool, err error) {
	in, err := c.Store.ProcessInstance(ctx, instance)
	if err == nil {
		if in.ExpiresAt.IsZero() || in.IssuedAt.IsZero() {
			return 0, true, nil
		}
		return in.ExpiresAt.Sub(in.IssuedAt), true, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return 0, false, err
	}
	for i, seed := range p.Instances {
		if fmt.Sprintf("%s-%d", p.Name, i+1) == instance {
			if p.Expiry != nil {
				d, _ = seconds(seed[p.Expiry.ExpiresIn].Text)
			}
			return d, true, nil
		}
	}
	return 0, false, nil
}
