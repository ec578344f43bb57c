// Package engine runs workflows.
//
// A run is one thread. It holds a stack of activities to execute: what is
// pushed last runs first, and to its end, before what was pushed before it.
// Executing one yields outcomes; the edges of each outcome, in the order of the
// file, push their targets.
//
//	          ┌──────────────── push targets of the outcomes ◄──┐
//	          ▼                                                 │
//	start ─► stack ─► pop ─► evaluate fields, once ─► execute ──┤
//	          │                                                 ├─► Finish: finished
//	          │ empty                                           └─► error:  faulted, or a
//	          ▼                                                     Compensable undoes
//	   a scope (If, Switch, loops) whose branch is done? ── yes ─► execute it again
//	          │ no
//	          ▼
//	   something to wait for? ── yes ─► suspended: a row and no goroutine
//	          │ no
//	          ▼
//	      finished
//
// From a start or a resumption to the next wait or end is a burst. Runs live in
// memory; their state is stored, sealed, when they wait, when they fail, and
// after each activity if the definition says so ([workflow.PersistActivity]).
// Whoever resumes a run first owns it in the journal, then swaps the state's
// revision: two processes never resume one wait.
//
// Every limit ends a run with a fault that names it ([Limits]): there are back
// edges, and people write loops that never end.
//
// Where the package departs from the platform that the format comes from:
//
//   - Fields are evaluated once for each execution, the first activity's too.
//   - A scope is executed again when nothing of its branch is left, and not
//     before: a branch that waits keeps it open, and a sibling branch that ran
//     last does not make it forgotten.
//   - A definition with activities of unknown type runs, and faults at them.
//   - A child that waits and faults later faults the parent that waits for it.
//   - Joins of any branch go on once for each round of arrivals.
package engine
