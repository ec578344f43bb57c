// Package redact keeps secrets out of what is written for people: logs, error
// texts, details of problems.
//
// It knows secrets in two ways. [Values] holds the ones that this process has
// just handed out, and finds them wherever they turn up, also percent-encoded.
// [Text] knows what secrets look like: API keys of ours, JSON Web Tokens,
// Authorization headers, and members and parameters whose names say it. Neither
// is a promise that a text is clean: secrets are kept in freshet.Secret, which
// does not print, and this is the net below it.
package redact
