package freshet

// A Binding is the one place where a sealed value opens: its table, row, column
// and generation. Moved anywhere else it does not, so that whoever can write
// the database cannot hand one connection the token of another, nor put an old
// token back.
type Binding struct {
	Table, Row, Column string
	Generation         int64
}

// A SealedValue is a ciphertext where a store keeps it. Handle is the store's
// own way back to it and means nothing to anybody else.
type SealedValue struct {
	Binding
	Handle string
	Sealed []byte
}

// A Resealed is the same value under a newer key. A store writes To only where
// From.Sealed still stands.
type Resealed struct {
	From SealedValue
	To   []byte
}
