// Package schedule fires what is due: tasks of people, start activities of
// workflows, timers of suspended runs.
//
// It has two halves. The first is pure: [Compile] makes a [Plan] of a
// freshet.Schedule, and Plan.Next says which instant follows another. Next
// reads no clock and no state; the same arguments give the same instant for
// ever, so that a table of instants can be tested and a process that was away
// for a week comes back to the same grid.
//
//	every, in, at       absolute time: nothing that happens to clocks moves them
//	everything else     the clock on the wall in a zone
//
// What names a time of the clock fires once for each such time. A time that a
// change of the clock leaves out (the gap) is fired at the first instant after
// it; a time that comes twice (the fold) is fired at its first. Only what names
// no hour (hourly, cron with * for hours) goes on through the second hour.
//
// The second half is the [Poller]: it sleeps until the next row is due, and in
// one transaction claims the row, writes down the firing, enqueues the job and
// moves the row on. The firing's unique key is the row and the nominal instant,
// so that pollers of many processes fire each instant once, and a process that
// dies at any point fires it neither twice nor never:
//
//	due row ──claim──▶ firing queued ──job──▶ running ──▶ succeeded | failed
//	                      └ the one before is not over: skipped
//
// Instants that passed while nobody looked are fired once, together.
package schedule
