package httpapi

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/doctor"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/vault"
)

type masterKey struct {
	MasterKey string     `json:"master_key" doc:"Check value of the master key in use; it gives nothing away."`
	Place     string     `json:"place"`
	Next      string     `json:"next,omitempty" doc:"Check value of the other key while a rotation is not finished."`
	DataKeys  []uint32   `json:"data_keys" doc:"The one that seals first."`
	Since     *time.Time `json:"since,omitempty"`
	Left      int        `json:"left" doc:"Values that an older data key still seals."`
}

func (a *API) masterKey(ctx context.Context) (masterKey, error) {
	s := a.o.Vault.Status()
	n, err := a.o.Vault.Count(ctx, a.o.Store)
	return masterKey{MasterKey: s.MasterKey, Place: s.Place, Next: s.Next, DataKeys: s.DataKeys, Since: instant(s.Since), Left: n.Left()}, err
}

type rotation struct {
	masterKey
	Moved      int    `json:"moved" doc:"Values that are now under the new data key."`
	Unreadable int    `json:"unreadable" doc:"Values that do not open, and were left as they are."`
	Detail     string `json:"detail,omitempty"`
}

type resumption struct {
	Resumed bool `json:"resumed"`
}

type findings struct {
	Findings doctor.Report `json:"findings"`
}

// rotate replaces the master key, or with prepare makes the next one ready.
func (a *API) rotate(ctx context.Context, prepare string) (r rotation, err error) {
	// A rotation that has begun is finished whoever leaves.
	ctx = context.WithoutCancel(ctx)
	if prepare != "" {
		if !filepath.IsAbs(prepare) {
			return r, invalid("body.prepare", "is the absolute path of a file on the server's machine")
		}
		if err := a.o.Vault.Prepare(ctx, vault.MasterKeyFile(prepare)); err != nil {
			return r, keyProblem(err)
		}
		r.masterKey, err = a.masterKey(ctx)
		return r, err
	}
	if err := a.o.Vault.Rotate(ctx); err != nil {
		return r, keyProblem(err)
	}
	p, err := a.o.Vault.Reseal(ctx, a.o.Store)
	r.Moved, r.Unreadable = p.Moved, p.Unreadable
	if err != nil {
		r.Detail = "not all values have moved yet; repeat this to go on"
		a.log.Warn("re-sealing was interrupted", "error", err)
	}
	r.masterKey, err = a.masterKey(ctx)
	return r, err
}

// keyProblem says what is wrong with a master key. Its texts hold no key.
func keyProblem(err error) error {
	k, ok := errors.AsType[*vault.KeyError](err)
	if !ok {
		return err
	}
	p := problem.New(http.StatusConflict, "master-key", "The master key cannot be replaced like this", k.Error())
	p.Extra = map[string]any{"hint": k.Hint()}
	return p
}

func (a *API) operateEndpoints() {
	tags := []string{"operate"}
	register(a, huma.Operation{OperationID: "master-key-status", Method: http.MethodGet, Path: "/api/v1/master-key", Summary: "Which key seals", Tags: tags}, rule{verb: access.Admin},
		func(ctx context.Context, c *call, in *struct{}) (*body[masterKey], error) {
			return answered(a.masterKey(ctx))
		})
	register(a, huma.Operation{OperationID: "rotate-master-key", Method: http.MethodPost, Path: "/api/v1/master-key/rotate", Summary: "Replace the master key", Tags: tags,
		Description: "While the server works. It may be interrupted and repeated."}, rule{verb: access.Admin, action: "master_key.rotate", subject: func(*http.Request) string { return "master-key" }},
		func(ctx context.Context, c *call, in *struct {
			Body *struct {
				Prepare string `json:"prepare,omitempty" doc:"For a key that the server cannot replace by itself: a file on its machine with the next key."`
			}
		}) (*body[rotation], error) {
			prepare := ""
			if in.Body != nil {
				prepare = in.Body.Prepare
			}
			return answered(a.rotate(ctx, prepare))
		})

	register(a, huma.Operation{OperationID: "resume", Method: http.MethodPost, Path: "/api/v1/resume", Summary: "Let background refresh go on", Tags: tags,
		Description: "Confirms that a restored backup is the store to go on with."}, rule{verb: access.Admin, action: "server.resume", subject: func(*http.Request) string { return "background" }},
		func(ctx context.Context, c *call, in *struct{}) (*body[resumption], error) {
			if a.o.Resume != nil {
				if err := a.o.Resume(ctx); err != nil {
					return nil, err
				}
			}
			a.o.Source.Resume()
			return answered(resumption{true}, nil)
		})

	if a.o.Backup != nil {
		op := huma.Operation{OperationID: "backup", Method: http.MethodGet, Path: "/api/v1/backup", Summary: "A consistent copy of the store", Tags: tags,
			Description: "Values are sealed as they are in the store: it opens only with the master key of its time.",
			Responses:   map[string]*huma.Response{"200": {Description: "The database.", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}}
		a.handle(op, rule{verb: access.Admin, action: "server.backup", subject: func(*http.Request) string { return "store" }}, func(w http.ResponseWriter, r *http.Request, c *call) {
			out := &late{w: w, contentType: "application/octet-stream"}
			if err := a.o.Backup(r.Context(), out); err != nil {
				if out.begun {
					a.log.Warn("backup broke off", "error", err)
					panic(http.ErrAbortHandler)
				}
				a.fail(w, r, err)
			}
		})
	}
	if a.o.Doctor != nil {
		register(a, huma.Operation{OperationID: "doctor", Method: http.MethodGet, Path: "/api/v1/doctor", Summary: "What is not well, and what to do", Tags: tags}, rule{verb: access.Admin},
			func(ctx context.Context, c *call, in *struct{}) (*body[findings], error) {
				rep, err := a.o.Doctor(ctx)
				return answered(findings{rep}, err)
			})
	}
}
