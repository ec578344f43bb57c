// Package app runs apps: HTTP queries, JavaScript objects that use them, and
// pages that show what they bring, in the words of Appsmith.
//
//	freshet.App ─▶ compile ─▶ program: one bundle of the objects, the queries'
//	                          {{ }} and, for a page, its widgets' {{ }}
//	Run, Load, Press: one machine of package script, one job at a time per app
//	  objects and queries are globals (prelude.js)
//	  query.run()        ─▶ begin … wait ─▶ one HTTP request (query.go)
//	  storeValue(k, v)   ─▶ appsmith.store at once, sealed on disk before its
//	                        promise resolves (values.go)
//	  console, showAlert ─▶ the run's journal, masked
//
// What a page shows is computed on the server in the order of its bindings
// (order.go): what others wait for comes first, once each, and a cycle is a
// mistake of the app that an apply reports. Nothing of it but values that are
// shown reaches a browser, and no value that the run knows to be a secret.
//
// Jobs of one app go one at a time in this process, so that two page loads
// cannot both refresh one token. What the app does with tokens is its own: the
// guarantees of connections hold where a query names one, or a script asks
// GetAccessToken for its token. Known traps become warnings of the run
// (traps.go).
package app
