// Package resource keeps what people declare: providers, clients, connections
// and their kin. It reads the files that declare them, checks them, stores them
// whole or not at all, exports them, and makes of them the definitions that
// the rest of the program works with.
//
//	files ──Decode──► Set ──Apply──► store ──Definition──► freshet.Definition
//	          │                │                │
//	       the form         the rest:        variables and
//	       of a file     references, URLs,   defaults filled in,
//	                    grants, templates    secrets opened
//
// A [Registry] knows the kinds; each is a file of this package or of another,
// described by its Go type, its references and its check. Decoding, sealing,
// comparing, exporting and the JSON Schema follow from the type.
//
// Faults come all at once, each with file, line, column and field path, and
// never show a secret. Secrets are taken out of a resource by their path, sealed
// as one value that opens in its row at its revision only, and show as
// freshet.Redacted; where a file has that word the stored value stays.
//
// What the package refuses: fields that it does not know, references to what is
// not there, deleting what others refer to, aliases that multiply, reading the
// server's environment or disk for a request, and sending a stored secret to a
// host that it was not entered for.
package resource
