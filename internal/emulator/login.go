package emulator

import "net/http"

// userPassword finds the name and password of a login in any of the members
// that logins use.
func (x *exchange) userPassword() (name, password string) {
	return first(x.params, "username", "email", "user", "login", "userName"), first(x.params, "password", "pass", "Password")
}

// login is not OAuth: a name and a password bring {"authToken","expiresInMinutes"}.
func (x *exchange) login() *answer { return x.logIn(loginClient, "client_credentials") }

// jwtLogin brings {"access_token","refresh_token"}; the access token is a JWT
// and nothing but its exp says how long it lives.
func (x *exchange) jwtLogin() *answer { return x.logIn(jwtClient, "password") }

func (x *exchange) logIn(client, like string) *answer {
	if x.r.Method != http.MethodPost {
		return refuse(405, "invalid_request", "POST a name and a password")
	}
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clients[client]
	if x.cred.id != "" {
		if c = e.clientLocked(x.cred.id); c == nil {
			return refuse(401, "invalid_client", "this client is not registered")
		}
	}
	subject, ok := e.userLocked(x.userPassword())
	if !ok {
		return refuse(401, "invalid_credentials", "the name or password is wrong")
	}
	if like == "password" {
		return x.newGrantLocked(c, subject, "", true)
	}
	g := e.ownGrantLocked(c, subject, c.Scope, x.now)
	x.entry.Family = g.id
	return e.firstLocked(g, false, e.issuer(x.r), x.twist, x.now)
}

// jwtRefresh renews what jwtLogin brought.
func (x *exchange) jwtRefresh() *answer {
	if x.r.Method != http.MethodPost {
		return refuse(405, "invalid_request", "POST a refresh_token")
	}
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	t := x.e.refresh[x.refresh]
	if t == nil {
		return refuse(401, "invalid_grant", "the refresh token is not known")
	}
	a := x.e.renewLocked(t, "", x.e.issuer(x.r), x.twist, x.now)
	if a.status == 400 {
		a.status = 401
	}
	return a
}

// sink is where redirects lead. Nobody should follow one with a credential.
func (x *exchange) sink() *answer {
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	x.e.counts.sink++
	return reply(map[string]any{"sunk": true, "access_token": "at_from_the_wrong_place", "token_type": "Bearer"})
}
