// Package emulator is a provider on loopback: a real OAuth 2 authorization
// server and an API that it protects, which misbehave on request. The demo runs
// against it, tests prove faults with it, and operators rehearse a provider
// before they trust it with their grants.
//
// How a provider treats refresh tokens is a [Model], chosen per client. What
// goes wrong is a [Fault], queued for coming requests, named in a script, or
// asked for by a request itself. Both are data, so that a test, a script and a
// curl line say the same thing.
//
// Every request is counted and stamped. [Emulator.CheckOracles] then says
// whether a client of the emulator kept the rules that no provider forgives:
//
//	O1  at most one request in flight per refresh token
//	O2  no refresh token presented twice, unless the first attempt was recorded as open
//	O3  no family of tokens revoked for reuse
//	O4  what the client holds refreshes once more
//
// It keeps everything in memory and forgets the oldest when it holds too much.
// Names of tokens, codes and keys follow from a seed: two runs that ask for the
// same things in the same order see the same values. It refuses what an
// authorization server must refuse: a wrong PKCE verifier, a code twice, a
// foreign redirect URI, a proof for another URL. It is a tool for rehearsal: it
// believes any user, it speaks plain HTTP, and its control addresses (/_stats
// and the like) ask for no credential. Never show it to a network.
package emulator
