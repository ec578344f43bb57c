// Package vault is the one door to what Freshet keeps secret. It seals values
// so that a stolen database gives nothing away, and opens each of them only in
// the place that it was sealed for.
//
// A master key, which is never in the database, wraps the keyring, which is.
// The keyring holds data keys, which seal the values, and a digest key:
//
//	master key ──wraps──► keyring ──► data keys   seal and open values
//	(file, environment,     (one       (one primary, older ones open only)
//	 systemd credential)     row)  └─► digest key  keyed hashes, never changes
//
// Values are sealed with XAES-256-GCM: AES-256-GCM under a key of its own for
// each value, derived from the data key and a 192-bit random nonce. With plain
// AES-256-GCM and its 96-bit nonces, one data key may seal 2³² values, which a
// million busy connections spend within a year, and nobody counts; here no
// counter is needed. A sealed value begins with five bytes that name its data
// key, so that a database can count what is left under an old one.
//
// What the vault refuses: a master key that is missing, another one, weak,
// malformed or readable by others; a value that was moved, changed or cut; to
// make a master key when a keyring exists; to drop a data key that a value
// needs. [Open] writes nothing unless there is no keyring yet.
//
// # Rotation
//
// [Vault.Rotate] replaces the master key and makes a new primary data key,
// while values are sealed and opened all along. It may be killed anywhere; to
// call it again goes on from there.
//
//	    keyring wrapped under     file            opens with
//	1   old                       old             old     the new key lies beside, FILE.next
//	2   old and new               old             old     keyring saved: either key opens it
//	3   old and new               new             new     FILE.next renamed over FILE
//	4   new, new data key added   new             new     keyring saved
//
// So at every instant the key in the file opens the keyring, and the new data
// key was never wrapped under the old master key: who stole that one finds
// nothing newer in an old page of the disk. Then [Vault.Reseal] moves the
// values under the new data key, each by compare-and-swap and each once, also
// resumable, and when [Vault.Count] finds none left, [Vault.RemoveOldKeys]
// forgets the old data keys.
//
// A master key that Freshet cannot replace by itself (environment, credential,
// a file that several replicas hold) takes two steps: [Vault.Prepare] wraps the
// keyring under the new key as well; a person puts it in its place everywhere;
// Rotate then sees it there and does step 4. Other replicas learn of a change
// by [Vault.Reload].
//
// A backup opens with the master key of its time only. The digest key outlives
// every rotation, because a hash cannot be computed again without its secret.
//
// # Limits
//
// The keys are in the memory of the process that opened the keyring; Go moves
// and copies memory, so nothing here claims to erase them. Whoever can write the
// database can destroy values, and can put back a whole older state of a row
// whose generation nobody remembers.
package vault
