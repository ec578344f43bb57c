package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A ComponentMessage is a message that an action of a component has not carried
// out.
type ComponentMessage struct {
	ID        string     `json:"id"`
	Component string     `json:"component"`
	Action    string     `json:"action"`
	State     string     `json:"state"` // running, waiting, failed
	Attempts  int64      `json:"attempts"`
	Run       string     `json:"run"` // of the latest attempt
	Error     string     `json:"error,omitempty"`
	DueAt     *time.Time `json:"due_at,omitempty"` // of the next attempt, while it waits
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
}

const componentsPath = "/api/v1/components/"

// RunAction runs an action of the component r.Name over a message, r.Input.
// Status is finished, faulted (the message is kept) or suspended (the action gave
// it back; it is tried again).
func (c *Client) RunAction(ctx context.Context, action string, r RunRequest) (*RunResult, error) {
	path := componentsPath + url.PathEscape(r.Name) + "/actions/" + url.PathEscape(action) + "/run"
	if r.Correlation != "" {
		path += "?correlation_id=" + url.QueryEscape(r.Correlation)
	}
	return c.attempt(ctx, path, r.Input)
}

// RetryMessage carries out a failed message again, by its id or that of its
// latest run.
func (c *Client) RetryMessage(ctx context.Context, component, id string) (*RunResult, error) {
	return c.attempt(ctx, componentsPath+url.PathEscape(component)+"/messages/"+url.PathEscape(id)+"/retry", nil)
}

func (c *Client) attempt(ctx context.Context, path string, input []byte) (*RunResult, error) {
	res, err := c.Send(ctx, http.MethodPost, path, "application/json", bytes.NewReader(input))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var out RunResult
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("POST %s: the answer does not read: %w", path, err)
	}
	return &out, nil
}

// RetryMessages has every failed message of a component carried out again in the
// background, and returns how many there are.
func (c *Client) RetryMessages(ctx context.Context, component string) (int, error) {
	var out struct{ Retried int }
	err := c.Do(ctx, http.MethodPost, componentsPath+url.PathEscape(component)+"/messages/retry", nil, &out)
	return out.Retried, err
}

// Messages lists messages of a component that have not ended well, in a state or
// all of them, at most limit.
func (c *Client) Messages(ctx context.Context, component, state string, limit int) ([]ComponentMessage, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if state != "" {
		q.Set("state", state)
	}
	var out struct{ Messages []ComponentMessage }
	err := c.Do(ctx, http.MethodGet, componentsPath+url.PathEscape(component)+"/messages?"+q.Encode(), nil, &out)
	return out.Messages, err
}

// DropMessage deletes a failed message.
func (c *Client) DropMessage(ctx context.Context, component, id string) error {
	return c.Do(ctx, http.MethodDelete, componentsPath+url.PathEscape(component)+"/messages/"+url.PathEscape(id), nil, nil)
}
