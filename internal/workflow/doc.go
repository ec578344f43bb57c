// Package workflow is what a workflow is: activities with properties, joined
// by edges that carry the names of outcomes. It reads the two spellings of a
// definition, the JSON of a World of Workflows or Elsa 2 export and Freshet's
// own YAML, and writes both.
//
//	file ──Parse──► Definition + Findings      what runs, and what is odd
//	     ──Read───► Document ──Set, Remove──►  the same bytes but for the edit
//
// A file is kept byte for byte. Everything else is derived from it: the
// [Definition] that the engine runs, the places that findings name, the diff of
// two versions. An edit replaces the bytes of one value and leaves the rest as
// somebody else wrote it, members that mean nothing here included.
//
// Parsing is tolerant, because a foreign file is nobody's to correct: what is
// missing has a default, what is unknown stays in the file, what contradicts
// itself is a [Finding]. What it refuses are bytes that are no definition at
// all: broken JSON or UTF-8, more than [MaxFile] bytes, more than [MaxDepth]
// levels, no list of activities.
package workflow
