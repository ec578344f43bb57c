package endpoint

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// sandbox is the policy of pages that workflows write, unless they set one: a
// page at this server's origin must not act as the person who is signed in to
// the console.
const sandbox = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads allow-top-navigation-by-user-activation"

// answer sends a run's answer: what it wrote, else what follows from how it
// ended.
func (h *Handler) answer(w http.ResponseWriter, e *Endpoint, x *activity.HTTPExchange, end End, known bool) {
	if a, ok := x.Answer(); ok {
		write(w, a)
		return
	}
	switch {
	case end.Status == statusFaulted || end.Status == statusCancelled:
		p := problem.New(http.StatusInternalServerError, "run-faulted", "The workflow's run broke off", "run "+end.RunID+" says why")
		if end.Status == statusCancelled {
			p = problem.New(http.StatusInternalServerError, "run-cancelled", "The workflow's run was cancelled", "run "+end.RunID)
		} else if known && end.Fault != "" {
			// For callers who have a key; a public endpoint says nothing of its inside.
			p.Detail = h.o.Values.Scrub(redact.Text(end.Fault))
		}
		p.Extra = map[string]any{"run_id": end.RunID}
		p.Write(w)
	case end.Status != statusFinished:
		accepted(w, end.RunID, end.Status)
	case slices.ContainsFunc(end.Outcomes, func(o string) bool { return workflow.SameOutcome(o, "error") }):
		p := problem.New(http.StatusBadGateway, "run-error", "The workflow ended with the outcome error", "")
		if text, ok := end.Output.(string); ok {
			p.Detail = text
		} else if end.Output != nil {
			if b, err := content.Encode(end.Output); err == nil {
				p.Detail = string(b)
			}
		}
		p.Extra = map[string]any{"run_id": end.RunID}
		p.Write(w)
	default:
		if o, ok := end.Output.(*model.Object); ok && o.Kind() == model.KindRequest && !slices.ContainsFunc(end.Outcomes, func(o string) bool { return !workflow.SameOutcome(o, workflow.Done) }) {
			// Without a Finish a run's output is what its last activity left. The
			// caller's own request, with its key, is no answer.
			end.Output = nil
		}
		write(w, outputAnswer(end.Output))
	}
}

// outputAnswer is an output as an answer: a text raw, nothing as nothing, as the
// platform answers; anything else as JSON.
func outputAnswer(v any) activity.Answer {
	a := activity.Answer{Status: http.StatusOK, Header: http.Header{}}
	switch v := v.(type) {
	case nil:
	case string:
		a.Header.Set("Content-Type", "text/plain; charset=utf-8")
		a.Body = []byte(v)
	case []byte:
		a.Header.Set("Content-Type", "application/octet-stream")
		a.Body = v
	default:
		b, err := content.Encode(v)
		if err != nil {
			return activity.Answer{Status: http.StatusInternalServerError, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, Body: []byte("the run's output cannot be written as JSON\n")}
		}
		a.Header.Set("Content-Type", "application/json")
		a.Body = b
	}
	return a
}

// write sends an answer. It may hold a token, so nobody keeps it, unless the
// workflow says otherwise.
func write(w http.ResponseWriter, a activity.Answer) {
	hd := w.Header()
	maps.Copy(hd, a.Header)
	if hd.Get("Cache-Control") == "" {
		hd.Set("Cache-Control", "no-store")
	}
	switch media, _ := content.Media(hd.Get("Content-Type")); {
	case hd.Get("Content-Type") == "" && len(a.Body) == 0:
		hd["Content-Type"] = nil // net/http would guess
	case media == "text/html", media == "application/xhtml+xml", media == "image/svg+xml", content.IsXML(media), media == "":
		if hd.Get("Content-Security-Policy") == "" {
			hd.Set("Content-Security-Policy", sandbox)
		}
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		hd.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		w.Write(a.Body)
	}
}

// accepted says that a run goes on by itself, and where it can be seen.
func accepted(w http.ResponseWriter, run, status string) {
	where := "/api/v1/runs/" + url.PathEscape(run)
	b, _ := content.Encode(map[string]any{"run_id": run, "status": status, "run": where})
	write(w, activity.Answer{Status: http.StatusAccepted, Header: http.Header{"Content-Type": {"application/json"}, "Location": {where}}, Body: b})
}

// failed is what a caller is told when there was no run.
func failed(err error) *problem.Problem {
	switch {
	case errors.Is(err, ErrSingleton):
		// As the platform answers: there is nothing to call just now.
		return problem.New(http.StatusNotFound, "run-exists", "The workflow runs once at a time, and a run of it has not ended", "")
	case errors.Is(err, ErrGone):
		return problem.New(http.StatusNotFound, "not-found", "There is nothing here", "the workflow is not published any more")
	case errors.Is(err, ErrNotWaiting):
		return problem.New(http.StatusConflict, "not-waiting", "The run does not wait for this request any more", "")
	case errors.Is(err, ErrClosed):
		p := problem.New(http.StatusServiceUnavailable, "shutting-down", "The server is shutting down", "")
		p.RetryAfter = 1e9
		return p
	}
	_, p := problem.FromError(err)
	return &p
}

func methodNotAllowed(r *http.Request, allow []string) *problem.Problem {
	p := problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "The endpoint does not take this method", fmt.Sprintf("%s is not among %s", r.Method, strings.Join(allow, ", ")))
	p.Header = http.Header{"Allow": {strings.Join(allow, ", ")}}
	return p
}
