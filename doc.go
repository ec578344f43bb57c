// Package freshet holds the words of the product: providers, clients,
// connections, tokens, secrets and the policy that says when a token wants a
// refresh. It imports the standard library, does no I/O and reads no clock:
// every rule takes now.
//
// A [Provider] says how a kind of API issues tokens. A [Client] is our
// registration there. A [Connection] is one grant, one account at one provider,
// and moves through these states:
//
//	           answer committed
//	 ┌──────────────────────────────────────────┐
//	 ▼                                          │
//	ok ──lost or unclear answer──► uncertain ───┤
//	 │                                 │        │
//	 ├──attempts used up──► attention ◄┘ ───────┤
//	 ├──our own mistake───► misconfigured ──────┤
//	 └──permanent refusal─► reauth ──a person───┘
//
// A live access token is served in every state.
package freshet
