package httpapi

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/store"
)

type auditRow struct {
	Seq     int64           `json:"seq"`
	At      time.Time       `json:"at"`
	Actor   string          `json:"actor" doc:"key:NAME#ID, system, browser or config."`
	Action  string          `json:"action"`
	Subject string          `json:"subject,omitempty"`
	Detail  json.RawMessage `json:"detail"`
	Hash    string          `json:"hash" doc:"Chains the row to the one before it."`
}

type auditList struct {
	Audit      []auditRow `json:"audit" doc:"Newest first."`
	NextCursor string     `json:"next_cursor,omitempty"`
}

type auditReport struct {
	Verified   bool   `json:"verified"`
	Rows       int64  `json:"rows"`
	Checkpoint string `json:"checkpoint" doc:"SEQ:HASH of the newest row. Keep it elsewhere and give it next time: it shows that nothing up to there was removed."`
	Broken     int64  `json:"broken,omitempty" doc:"The first row that does not follow from those before it."`
	Detail     string `json:"detail,omitempty"`
}

func (a *API) auditEndpoints() {
	register(a, huma.Operation{OperationID: "list-audit", Method: http.MethodGet, Path: "/api/v1/audit", Summary: "Who used or changed what", Tags: []string{"operate"}}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Paging
			Actor   string `query:"actor" doc:"Only of this one."`
			Action  string `query:"action" doc:"Only this, such as token.read."`
			Subject string `query:"subject" doc:"Only about this, such as a connection's name."`
		}) (*body[auditList], error) {
			before, err := in.before()
			if err != nil {
				return nil, err
			}
			// Rows are written in groups: whoever looks sees what was done before.
			flush, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if err := a.gate.audit.Flush(flush); err != nil && ctx.Err() == nil {
				a.log.Warn("audit listed before all of it is written", "error", err)
			}
			rows, err := a.o.Store.AuditBefore(ctx, before, store.AuditFilter{Actor: in.Actor, Action: in.Action, Subject: in.Subject}, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &body[auditList]{}
			out.Body.Audit = make([]auditRow, len(rows))
			for i, r := range rows {
				if !json.Valid([]byte(r.Detail)) {
					r.Detail = "{}" // somebody has written the table by hand; verify says where
				}
				out.Body.Audit[i] = auditRow{Seq: r.Seq, At: r.At.UTC(), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Detail: json.RawMessage(r.Detail), Hash: hex.EncodeToString(r.Hash)}
			}
			if len(rows) == in.Limit {
				out.Body.NextCursor = strconv.FormatInt(rows[len(rows)-1].Seq, 10)
			}
			return out, nil
		})

	register(a, huma.Operation{OperationID: "verify-audit", Method: http.MethodGet, Path: "/api/v1/audit/verify", Summary: "Check that the audit is whole", Tags: []string{"operate"}, Description: "Reads the whole record."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Checkpoint string `query:"checkpoint" maxLength:"128" doc:"What an earlier answer gave."`
		}) (*body[auditReport], error) {
			var mark audit.Checkpoint
			if in.Checkpoint != "" {
				var err error
				if mark, err = audit.ParseCheckpoint(in.Checkpoint); err != nil {
					return nil, invalid("query.checkpoint", err.Error())
				}
			}
			rep, err := a.gate.audit.Verify(ctx, mark)
			if err != nil {
				return nil, err
			}
			return answered(auditReport{Verified: rep.Good(), Rows: rep.Rows, Checkpoint: rep.Head.String(), Broken: rep.Broken, Detail: rep.Detail}, nil)
		})
}
