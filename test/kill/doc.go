// Package kill proves the crash windows: a real server process is killed with
// SIGKILL at each fail point of a refresh, against each model of provider, and
// started again. Its tests need the build tag failpoints, which they also give
// to the binary that they build.
//
// FRESHET_KILLS is the number of kills a cell (2), FRESHET_KILLS_WINDOW that at
// the two points where only the provider decides (FRESHET_KILLS).
// FRESHET_KILL_REPORT names a file for the table.
package kill
