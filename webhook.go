package freshet

// A Webhook is somebody outside who is told about events.
type Webhook struct {
	URL    string   `json:"url"`
	Secret Secret   `json:"secret"`           // signs each request: HMAC-SHA256 over timestamp and body
	Events []string `json:"events,omitempty"` // of WebhookEvents; empty: all
}

// WebhookEvents lists the events that webhooks carry.
var WebhookEvents = []string{"connection.needs_reauthorization", "connection.recovered", "client.misconfigured", "token.refreshed", "run.faulted", "schedule.missed"}
