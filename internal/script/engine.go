// Package script runs JavaScript that is not trusted with anything.
package script

// An Engine runs scripts.
type Engine struct{}
