package activity

import (
	"errors"
	"net/http"
	"sync"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// ErrAnswered says that the HTTP caller has got its answer already.
var ErrAnswered = errors.New("the HTTP response has been written already; a run answers its caller once")

// An HTTPExchange is the HTTP request that a run answers. A child answers its
// parent's. It is safe for concurrent use.
type HTTPExchange struct {
	Request *model.Request

	mu     sync.Mutex
	answer *Answer
}

// An Answer is what a run wrote to its HTTP caller.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Write answers the caller. ErrAnswered: it has its answer. On a nil exchange,
// which is a run that nobody called by HTTP, it does nothing.
func (x *HTTPExchange) Write(a Answer) error {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.answer != nil {
		return ErrAnswered
	}
	x.answer = &a
	return nil
}

// Answer returns what was written; false if nothing was.
func (x *HTTPExchange) Answer() (Answer, bool) {
	if x == nil {
		return Answer{}, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.answer == nil {
		return Answer{}, false
	}
	return *x.answer, true
}
