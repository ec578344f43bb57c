// Package content turns bodies of HTTP messages into what a workflow's
// expressions work with, and back: JSON, forms, XML, multipart and text, by
// media type.
//
// What it gives is lenient where documents in the wild are odd (a byte order
// mark, a scalar at the top, +json types, bytes that are not the charset they
// claim) and bounded where a stranger could hurt: depth, number of parts. Sizes
// are the reader's to bound before anything gets here.
package content
