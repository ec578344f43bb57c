// Package odata reads the conditions that workflows write over the rows of a
// table, OData's $filter, and decides them for one row:
//
//	Key eq 'AccessToken'
//	Status in ('Active','New') and (Due lt 2024-11-20T12:00:00Z or Due eq null)
//	not startswith(tolower(Email),'test') and Available
//
// Text is parsed, never pasted: a condition becomes a tree ([Parse]) that is
// bound to the columns of a table ([Bind]), which is when literals take the kind
// of what they are compared with. The tree may then be decided for a row
// ([Match]) or turned into something else that says the same.
//
// Conditions have two values. An absent value equals null alone and is neither
// more nor less than anything; what is absent is not true. So "not (N gt 5)"
// holds for a row without N. Text is ordered by its bytes.
//
// The package refuses what is longer or deeper than its limits, columns and
// functions that are not there, and comparisons of things that have no order
// between them. A text of the filter is never repeated in an error, because it
// may be a secret; only its place is.
package odata
