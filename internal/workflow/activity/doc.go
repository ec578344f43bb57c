// Package activity is what a step of a workflow can do. An activity describes
// itself once, in a [Spec]: its fields with their default syntaxes, its outcomes
// and outputs, examples that run as tests, and the function that does the work.
// The validator, the importer, the engine, the console and docs/activities.md
// all read the same Spec.
//
//	workflow.Activity ──evaluate fields──► Call ──Spec.Run──► Result
//	                                                          │
//	              outcomes, in the order in which they are pushed onto the stack,
//	              outputs, what to wait for, or the end of the run
//
// An activity knows nothing of the stack, of scopes or of persistence: it gets
// a [Call] and says in its [Result] what follows. What it may do to its run
// beyond that is in [Run]. What outlives the call belongs in Call.State, which
// is kept with the run, or in variables.
//
// A file holds one activity or a small family. Activities that need no service
// come in groups ([Control], [Primitives], …); a group that needs one takes it
// as a small interface that it declares itself.
package activity
