package resource

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"unicode/utf8"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
)

const kindWorkflow = "workflows"

// workflowName is what foreign platforms call workflows by: words with blanks
// between them.
var workflowName = regexp.MustCompile(`^[\p{L}\p{N}](?:[\p{L}\p{N} ._()&,+'-]{0,126}[\p{L}\p{N}._()+'-])?$`)

// WorkflowName reports whether a workflow can have the name here.
func WorkflowName(name string) bool {
	return utf8.ValidString(name) && len(name) <= 256 && workflowName.MatchString(name)
}

// A WorkflowChecker knows what can be wrong with a definition beyond its form:
// outcomes, expressions, endpoints that others have.
type WorkflowChecker interface {
	// CheckWorkflow returns what there is to say of a workflow that will have the
	// name, once the change is made.
	CheckWorkflow(ctx context.Context, name string, w *freshet.Workflow) ([]workflow.Finding, error)
}

func workflows() Kind {
	return Define(Spec[freshet.Workflow]{
		Name: kindWorkflow, One: "workflow", Names: workflowName,
		NamesText: "the name of a workflow has letters, digits, blanks and . _ - ( ) & , + ', begins with a letter or digit and is at most 128 long",
		Doc:       "Workflows: exports of World of Workflows or Elsa 2, or definitions of our own. A changed one gets a new version.",
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[freshet.Workflow](): {Documents: map[string]string{"definition": "file"}, Any: []string{"variables"}},
		},
		Check: checkWorkflow,
	})
}

// checkWorkflow says everything at once: what keeps a version from being
// published is a fault where it is to be published, else a warning.
func checkWorkflow(c *Check, name string, w *freshet.Workflow) {
	findings, err := c.workflowFindings(name, w)
	if err != nil {
		c.Fault("definition", "%v", err)
		return
	}
	for _, f := range findings {
		switch {
		case f.Severity == workflow.Error && w.Publish:
			c.Fault("definition", "%s", f.Sentence())
		case f.Severity != workflow.Info:
			c.Warn("definition", "%s", f.Sentence())
		}
	}
	if len(w.Lock) > maxText {
		c.Fault("lock", "is longer than %d KiB", maxText>>10)
	}
}

func (c *Check) workflowFindings(name string, w *freshet.Workflow) ([]workflow.Finding, error) {
	if c.b.o.Workflows != nil {
		return c.b.o.Workflows.CheckWorkflow(c.ctx, name, w)
	}
	_, findings, err := workflow.Parse([]byte(w.Definition.Reveal()))
	return findings, err
}

// Workflow returns a workflow as it was declared or imported last, with what is
// sealed in it, and its id. The error wraps freshet.ErrNotFound.
func (b *Book) Workflow(ctx context.Context, name string) (*freshet.Workflow, string, error) {
	row, err := b.row(ctx, Key{kindWorkflow, name})
	if err != nil {
		return nil, "", err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, "", err
	}
	return v.(*freshet.Workflow), row.ID, nil
}

// WorkflowAgain writes a workflow as it is once more, so that it gets a new
// version. The error wraps freshet.ErrNotFound.
func (b *Book) WorkflowAgain(ctx context.Context, name string) error {
	k := Key{kindWorkflow, name}
	effect := Effect{k, Changed}
	for range attempts {
		epoch, err := b.store.Resource(ctx, epochKey.Kind, epochKey.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		row, err := b.row(ctx, k)
		if err != nil {
			return err
		}
		secrets, err := b.open(row)
		if err != nil {
			return err
		}
		err = b.store.Change(ctx, func(c *store.Change) error {
			if err := moveOn(c, epoch); err != nil {
				return err
			}
			row.Revision++
			if err := b.seal(&row, secrets); err != nil {
				return err
			}
			if err := c.Put(row); err != nil || b.o.Written == nil {
				return err
			}
			return b.o.Written(c, Update{Effect: effect, ID: row.ID, Again: true})
		})
		if errors.Is(err, store.ErrStale) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", k, err)
		}
		b.changed([]Effect{effect})
		return nil
	}
	return ErrBusy
}

// WorkflowIn reads the workflow that a write is about, within its transaction.
func (b *Book) WorkflowIn(c *store.Change, name string) (*freshet.Workflow, error) {
	row, err := c.Resource(kindWorkflow, name)
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	return v.(*freshet.Workflow), nil
}
