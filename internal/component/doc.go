// Package component runs actions of components as elastic.io has them: one
// JavaScript file each, a message in, events out.
//
//	exports.process = async function (msg, cfg, snapshot) {
//	  await this.emit("updateKeys", {oauth: await refreshed(cfg.oauth)});
//	  return {body: …};
//	};
//
//	message ──► kept, sealed ──► attempt: a run ──► ended well: forgotten
//	                 ▲              │
//	                 │  due, by a   ├─► gave it back (rebound): waits, then again
//	                 └── job ───────┤
//	                                └─► failed: kept until somebody retries or drops it
//
// An action gets the token set of the component's connection in cfg, under the
// field that the descriptor chose, as it is at that very message: a worker that
// goes on keeps no old one. A token set that it emits (updateKeys) is in the
// store, merged, before the promise of the emit resolves.
//
// An action reaches nothing but the functions of prelude.js: no packages, no
// files, the declared variables of the environment alone, and the network by way
// of the guarded dialler or a connection.
package component
