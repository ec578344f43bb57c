// Package check says what is wrong with a workflow, and what became of one that
// was imported: every fault at once, each with its activity, its property, its
// place in the file, what comes of it and what to do.
//
// A finding of severity Error keeps a version from being published: two
// activities of one id, JavaScript that does not compile, a path that another
// workflow serves. Everything else is published as it is, because a file that
// ran elsewhere must run here: activities of types that nobody knows fault when
// a run reaches them, edges that lead nowhere are not followed.
//
// Nothing is evaluated. What a text reads and sets is told from the text, so an
// author who computes the name of a variable is not followed.
package check
