// Package process runs forms: services with named methods, processes of fields
// and buttons, and their saved instances.
//
//	Process ── fields, buttons ── rules, in order: Set form field, Find, Create,
//	   │                           Update and Delete item, Save form
//	   └ PROCESS-1, PROCESS-2 … ── instances: the fields as they were saved
//
// A press runs the rules of a button, of a field, or one rule, strictly in their
// order and on a copy: nobody else sees what a rule does before Save form, and a
// rule that fails ends the list, so that the saved instance stays as it was. A
// call goes on when whoever pressed has left, because a provider may retire an
// old refresh token as it answers. Presses of one instance go one at a time, and
// Save form writes the fields that the press has changed over the instance as it
// is then: a value entered meanwhile is kept.
//
// What the fields of an instance hold is sealed. Fields that are declared secret
// show as [secret]; the journal of a run masks them, and what answers bring into
// them. Previews show requests in the same way, and send none unless they are
// asked to.
package process
