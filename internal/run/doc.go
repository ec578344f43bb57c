// Package run is the journal of everything that runs: workflows, scripts,
// buttons of processes, components. A run has an id that sorts by time, a
// correlation id that people search by, a parent and children, and steps with
// start, duration, branch taken and message.
//
//	Create            Begin
//	  │                 │
//	  ▼     Resume      ▼      End
//	idle ───────────▶ running ─────────▶ finished, cancelled
//	                   │ ▲ ▲    End
//	           Suspend │ │ └─────────── faulted
//	                   ▼ │ Resume  Resume (a retry)
//	                suspended
//
// Begin, Suspend and End are durable when they return. Callers that come at the
// same time share one transaction; one that is alone waits for nobody. Steps
// are kept in memory until the run ends, or for about a second, and are written
// many to a row; who follows a run gets them at once. So a process that is
// killed loses at most the last second of steps, never a run: [Journal.Interrupted]
// finds those that it left behind.
//
// Nothing reaches the store, a follower or an observer unmasked: values that
// are known to be secret, members whose names say so, and what looks like a
// secret. What a run hands to its caller is not the journal's to mask.
package run
