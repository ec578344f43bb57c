// Package importer tells what a foreign file is and takes the workflows out of
// it: an export of World of Workflows or Elsa 2, one of our own definitions, or
// a Solution, which is a zip of exports with plugins and a description.
//
// It looks at content, never at names or declared types. Nothing of a file is
// run, written to disk or unpacked without a bound: a zip has so many entries,
// so many bytes in all, and each entry no more than a definition may have.
// Formats of other platforms are recognised and refused with their name.
package importer
