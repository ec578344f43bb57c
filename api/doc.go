// Package api is how other Go programs use a Freshet server: its wire types,
// and a client whose tokens are always fresh.
//
//	c := api.New("http://127.0.0.1:8420", key)
//	t, err := c.Token(ctx, "crm", api.MinTTL(time.Minute))
//	hc := c.HTTPClient(ctx, "crm") // injects, renews once when refused, stays on the connection's hosts
//
// A token read is answered from memory until its margin: a cached read takes
// no lock and allocates nothing. The client never refreshes by itself and holds
// no refresh token; the server does both.
package api
