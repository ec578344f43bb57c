// Package expr evaluates the properties of activities: literals, JavaScript,
// Liquid templates, JSON texts, secrets, variables and the cases of a switch.
//
//	property ──Live──► syntax, text ──Eval──► value of a run ──Convert──► what the field takes
//
// The [Evaluator] is shared by all runs; [Evaluator.Open] gives the evaluations
// of one burst of a run a machine of their own. What an expression may see and
// touch of its run is the [Scope], which the workflow engine implements; what
// lies beyond the run are the [Services].
//
// An expression can at worst fail its own evaluation: time, memory, stack, and
// the size of source, input and output are limited, no Go value is within reach,
// and nothing but JSON, instants and bytes goes in or comes out.
package expr
