// Package fosite holds the token requests of Freshet against an authorization
// server that others wrote, github.com/ory/fosite, run in the test's own
// process. It is a module of its own so that the server's dependencies stay out
// of Freshet's.
package fosite
