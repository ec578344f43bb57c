// Package table keeps tables: named columns with types, and rows that
// workflows, scripts and people read and change. World of Workflows calls them
// tables, and in older texts types; a table is found by its name or, where a
// document has it so, by its number.
//
// A row has a number, its ObjectId, that no other row of the server ever has,
// and a version that each change counts on. A change is one transaction,
// whatever number of columns it touches, and stays on record with who made it.
// Rows refer to each other by number; what others refer to is not deleted.
//
// Columns that are secret are sealed, row by row and version by version. They
// are values for runs ([Tables.ForRun]) and freshet.Redacted for everybody else
// ([Tables.As]): in lists, exports, histories, errors and filters.
//
// Filters are written as OData has them (package odata). What an index can
// answer becomes bound SQL, the rest is decided row by row, and both say the
// same: conditions have two values, and an absent value is less than nothing,
// equal to null alone.
package table
