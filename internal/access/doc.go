// Package access knows API keys: who may ask Freshet for what.
//
// A key is written fk_ID_SECRET. The id finds its row; the secret is 256 random
// bits, of which only a keyed hash is stored, so that neither the database nor
// a backup of it gives a key away. [Keys] holds all rows in memory: a check
// reads no database, takes the same steps for an id that does not exist, and
// compares in constant time.
//
// What a key may do are its scopes. An address list and an expiry narrow it
// further. Revoking one ends what it has open: [Caller.Revoked].
package access
