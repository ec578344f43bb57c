// Package library keeps workflows: every version of each, which one is
// published, and what is attached to it. It finds the published version of a
// name, an id or a tag without asking the database.
//
//	resource applied ──Write──► version n+1 (draft) ──publish──► what new runs use
//	                    in the transaction of the resource
//
// A workflow is declared as a resource; the library writes a version whenever
// the declaration changes, in the same transaction, so that one never exists
// without the other. Versions are never changed. A run that has begun keeps the
// version that it began with.
//
// Names are unique here, which the format does not ask for: to import a file of
// a known name is to make a new version of that workflow. So a lookup by name
// has one answer. Ids are our own; a lookup by id also knows the definitionId of
// published files, because exports name each other by it.
//
// File and attachments are sealed at rest as one value: foreign files hold old
// credentials in descriptions and dead code, default variables may be tokens.
package library
