// Package script runs JavaScript that is not trusted with anything.
//
// A script is given values and functions, and gives back a value. It reaches no
// Go value, file, network, process or environment; nothing crosses but the
// values that package model lists, as text. What it can do at worst is to fail
// its own evaluation, with a [LimitError] that names the limit: time, memory,
// stack, and the size and depth of what goes in and comes out.
//
//	Engine ── spare machines, made in the background
//	  └ Session ── one run: its scripts share one machine, no other run ever has it
//	      └ Eval ── one script in a clean global scope
//
// A machine is a virtual machine of QuickJS with a kernel (kernel.js) that
// carries values across, keeps instants in UTC and takes away what a script
// left in the global scope. It is thrown away when its session closes, when a
// limit was hit, and when a script touched what it could not put back. A
// session's machine is only kept warm: under pressure the engine takes it from
// an idle session, and the next script of that session gets a new one.
//
// Two things are shared by the scripts of one session, and by nothing else:
// prototypes that a script changed by computed names only (one that is named in
// the text costs the machine), and the memory limit.
//
// This is transpiled C in the process of the server: a machine is a wall, not a
// moat. Who may write scripts is therefore a permission of administrators, and
// scripts of strangers wait for a process of their own.
package script
