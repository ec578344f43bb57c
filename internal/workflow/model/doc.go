// Package model is what a workflow's own objects are: the request that a
// workflow was called with, the answer that an activity got, what a child
// workflow ended with, a row of a table.
//
// The platform that the format comes from finds a member of these objects
// whether its first letter is large or small, and people's workflows rely on
// it: Output().body and Output().Body are one member. What users put below them
// (headers, bodies, columns) is found by its exact name. An [Object] keeps that
// wherever it goes: through a variable, into a child workflow as its input,
// into the store and back. [Marshal] and [Unmarshal] are how values of a run are
// stored, and what they keep beside JSON is exactly that, instants and bytes.
//
//	a value of a run: nil, bool, int64, float64, string, []any, map[string]any,
//	                  time.Time, []byte, *Object, JSON
//
// encoding/json shows an Object as a plain one with each member once, for
// callers, journals and the console.
package model
