package grant

// request is any login over HTTP: the provider's templates say all of it, and
// the connection's credentials are what they name. No standard parameter goes
// out and no client authentication that nobody asked for.
func (c *call) request() *Error {
	c.std = nil
	return nil
}
