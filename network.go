package freshet

// Network says which addresses may be reached although they are not public.
type Network struct {
	// Allow lists addresses, ranges such as 10.0.0.0/8, host names and
	// *.suffixes. They may use plain http and any port; everything else is
	// https.
	Allow []string `json:"allow,omitempty"`
}
