package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// RunFunction runs a function of an app, OBJECT.FUNCTION, with the input as its
// argument, and waits for its end. The name in r is the app's.
func (c *Client) RunFunction(ctx context.Context, function string, r RunRequest) (*RunResult, error) {
	path := "/api/v1/apps/" + url.PathEscape(r.Name) + "/run/" + url.PathEscape(function)
	if r.Correlation != "" {
		path += "?correlation_id=" + url.QueryEscape(r.Correlation)
	}
	res, err := c.Send(ctx, http.MethodPost, path, "application/json", bytes.NewReader(r.Input))
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
