// Package backup takes backups of the embedded store, puts one back, and
// notices when that has happened.
//
// A backup is one file: a consistent copy of the database, made while others
// write to it. It holds what the database holds, secrets sealed, so that it
// opens only with the master key of its time, which it does not hold. [Take]
// reads back what it wrote before the file gets its name; [Restore] reads all
// of a backup, and opens it with the master key at hand, before it touches
// anything.
//
// # Why a restored store rests
//
// Many providers replace the refresh token at each use, and take the sight of
// an older one for theft: they revoke the grant. A store of yesterday is full
// of older ones. So a store that is not the one that its directory had last
// must not refresh anything by itself before a person has looked; a [Guard]
// tells the two apart.
package backup
