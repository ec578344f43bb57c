package vault

import "time"

// SetNow gives v another clock, before it is used.
func (v *Vault) SetNow(now func() time.Time) { v.now = now }

// Weakness shows the judgement of a key.
func Weakness(key []byte) string { return weakness(key) }
