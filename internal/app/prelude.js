// What an app finds beside the language, and what runs it. A function of the kernel's tools; trusted, and its scripts
// are one app's, which may break themselves and nobody else.
(k => {
"use strict";
const {call, define, hidden} = k;
const g = globalThis;
const {stringify, parse} = JSON;
const {keys} = Object;
const {fromCharCode} = String;
const settled = Promise.resolve();

// ---- what the language has not

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const codes = {"-": 62, "_": 63};
for (let i = 0; i < 64; i++) codes[digits[i]] = i;

// atob takes base64 and base64url, with and without padding.
define("atob", {atob(text) {
  const s = ("" + text).replace(/[\t\n\f\r ]+/g, "").replace(/=+$/, "");
  let out = "", bits = 0, n = 0;
  if (s.length % 4 === 1) throw new Error("atob: the text is no base64");
  for (let i = 0; i < s.length; i++) {
    const c = codes[s[i]];
    if (c === undefined) throw new Error("atob: the text is no base64");
    bits = (bits << 6 | c) & 0xffffff;
    if ((n += 6) >= 8) out += fromCharCode(bits >> (n -= 8) & 255);
  }
  return out;
}}.atob);
define("btoa", {btoa(text) {
  const s = "" + text;
  let out = "";
  for (let i = 0; i < s.length; i += 3) {
    const b = [s.charCodeAt(i), s.charCodeAt(i + 1), s.charCodeAt(i + 2)];
    for (const c of b) if (c > 255) throw new Error("btoa: the text has characters beyond Latin-1");
    const x = b[0] << 16 | (b[1] || 0) << 8 | (b[2] || 0);
    out += digits[x >> 18] + digits[x >> 12 & 63] + (i + 1 < s.length ? digits[x >> 6 & 63] : "=") + (i + 2 < s.length ? digits[x & 63] : "=");
  }
  return out;
}}.btoa);

function words(v) {
  if (typeof v === "string") return v;
  if (v instanceof Error) return v.name + ": " + v.message;
  if (typeof v === "object" && v !== null) {
    try { return stringify(v); } catch { return "" + v; }
  }
  return "" + v;
}
const console = {};
for (const level of ["log", "info", "debug", "warn", "error", "table"]) {
  console[level] = {[level](...list) { call("console", level, list.map(words).join(" ")); }}[level];
}
define("console", console);

// ---- what goes on meanwhile
//
// begin hands something to Go, which does it while the script goes on; wait returns what has been done. The script
// waits when it has nothing else to do: its turns come behind all others that are ready.

const waiting = {};
let pending = 0, rounds = 0, turning = false;
function turn() {
  if (rounds-- > 0) { settled.then(turn); return; }
  const r = call("wait"), done = waiting[r[0]];
  delete waiting[r[0]];
  pending--;
  done(r);
  if (pending > 0) { rounds = 8; settled.then(turn); } else turning = false;
}
function meanwhile(what, ...args) {
  return new Promise(resolve => {
    const id = call(what, ...args);
    waiting[id] = resolve;
    pending++;
    rounds = 8;
    if (!turning) { turning = true; settled.then(turn); }
  });
}

define("setTimeout", {setTimeout(f, ms, ...args) {
  const id = {};
  meanwhile("sleep", +ms || 0).then(() => { if (!id.off) f(...args); });
  return id;
}}.setTimeout);
define("clearTimeout", {clearTimeout(id) { if (id) id.off = true; }}.clearTimeout);

// ---- the app

let store = {};
const flush = () => settled.then(() => { call("flush"); });
define("storeValue", {storeValue(key, v, persist) {
  const text = stringify(v);
  key = "" + key;
  if (text === undefined) delete store[key]; else store[key] = parse(text);
  call("store", key, text === undefined ? null : text, persist !== false);
  return flush();
}}.storeValue);
define("removeValue", {removeValue(key) {
  delete store["" + key];
  call("store", "" + key, null, true);
  return flush();
}}.removeValue);
define("clearStore", {clearStore() {
  for (const key of keys(store)) delete store[key];
  call("clear");
  return flush();
}}.clearStore);
define("showAlert", {showAlert(message, kind) {
  call("alert", words(message), kind === undefined ? "" : "" + kind);
  return settled.then(() => undefined);
}}.showAlert);
define("GetAccessToken", {GetAccessToken(connection) {
  return meanwhile("token", "" + connection).then(r => {
    if (r[1] !== "") throw new Error(r[1]);
    return r[2];
  });
}}.GetAccessToken);

define("__app", boot => {
  const queries = {}, functions = {}, widgets = {};
  store = boot.store;
  for (const id of keys(waiting)) delete waiting[id];
  pending = 0;
  turning = false;
  hidden(g, "appsmith", {
    get store() { return store; },
    mode: "VIEW", URL: {queryParams: boot.parameters || {}},
  });

  // values are what {{ }} give: JSON, "" for undefined.
  function values(list, self) {
    const out = [];
    for (const f of list) {
      let v = f.call(self);
      v = typeof v === "function" ? undefined : stringify(v);
      out.push(v === undefined ? "" : v);
    }
    return out;
  }

  // ready waits for functions that are bound and did not run yet.
  async function ready(names, by) {
    for (const name of names) {
      const f = functions[name];
      if (f.ran || f.running) continue;
      call("needs", by, name);
      await f.start();
    }
  }

  async function execute(q, params) {
    await ready(q.needs, q.name);
    const self = {params: params === undefined || params === null ? {} : params};
    q.shown.isLoading = true;
    const r = await meanwhile("query", q.name, ...q.parts.map(list => values(list, self)));
    q.shown.isLoading = false;
    const [, error, status, headers, text, json] = r;
    let data = text;
    if (json) { try { data = parse(text); } catch { data = text; } }
    q.ran = true;
    q.error = error;
    q.shown.responseMeta = {isExecutionSuccess: error === "", statusCode: status, headers};
    q.shown.data = data === "" ? undefined : data;
    if (r[6]) store[r[6][0]] = r[6][1]; // captured
    if (error !== "") throw new Error(error);
    return q.shown.data;
  }

  const app = {
    // script takes an object: its functions are called with it, and remember what they gave last.
    script(name, make) {
      const o = {};
      let made = make.call(o);
      if (typeof made !== "object" || made === null) throw new Error("script " + name + ": what it exports is no object");
      for (const key of keys(made)) {
        const v = made[key];
        if (typeof v !== "function") { o[key] = v; continue; }
        const entry = {ran: false, running: false};
        const f = {[key](...args) {
          entry.running = true;
          let r;
          try { r = v.apply(o, args); } catch (e) { entry.running = false; throw e; }
          if (r !== null && typeof r === "object" && typeof r.then === "function") {
            return r.then(x => { f.data = x; entry.ran = true; entry.running = false; return x; }, e => { entry.running = false; throw e; });
          }
          f.data = r; entry.ran = true; entry.running = false;
          return r;
        }}[key];
        f.data = undefined;
        entry.start = async (...args) => {
          const id = call("start", name + "." + key);
          try {
            const v = await f(...args);
            call("end", id, "");
            return v;
          } catch (e) { call("end", id, words(e)); throw e; }
        };
        functions[name + "." + key] = entry;
        o[key] = f;
      }
      hidden(g, name, o);
    },
    query(name, needs, parts) {
      const q = {name, needs, parts, ran: false, error: "", shown: {
        data: undefined, responseMeta: {isExecutionSuccess: false}, isLoading: false,
        run(a, b, c) {
          const old = typeof a === "function" || typeof b === "function";
          const p = execute(q, old ? c : a);
          if (!old) return p;
          return p.then(v => { if (typeof a === "function") a(v); return v; }, e => { if (typeof b !== "function") throw e; b(e); });
        },
        clear() { q.shown.data = undefined; q.shown.responseMeta = {isExecutionSuccess: false}; return settled.then(() => undefined); },
      }};
      queries[name] = q;
      hidden(g, name, q.shown);
    },
    names() { return keys(functions); },
    input(name, v) { hidden(g, name, v); },
    widget(name, part, f) { (widgets[name] = widgets[name] || {})[part] = f; },

    async call(name, args) { return functions[name].start(...args); },

    // load runs what a page needs, one level after the other, and what is within a level side by side. What fails fails
    // alone, and what waits for it says so.
    async load(levels) {
      const failed = {};
      const one = async n => {
        for (const d of n.after) if (d in failed) { failed[n.name] = n.name + " waits for " + d + ", which failed"; return; }
        try {
          if (n.query) { if (!queries[n.name].ran) await execute(queries[n.name]); }
          else if (!functions[n.name].ran) await functions[n.name].start();
        } catch (e) { failed[n.name] = e instanceof Error ? e.message : words(e); }
      };
      for (const level of levels) await Promise.all(level.map(one));
      return failed;
    },
    // show evaluates widgets. after are the nodes that each part waits for.
    show(list, failed) {
      const out = {};
      for (const w of list) {
        const got = {};
        for (const part of w.parts) {
          const broken = part.after.filter(d => d in failed);
          if (broken.length > 0) { got[part.name] = {error: failed[broken[0]], of: broken[0]}; continue; }
          try {
            const v = stringify(widgets[w.name][part.name].map(f => { const x = f(); return x === undefined || typeof x === "function" ? null : x; }));
            got[part.name] = {v};
          } catch (e) { got[part.name] = {error: e instanceof Error ? e.name + ": " + e.message : words(e), of: ""}; }
        }
        out[w.name] = got;
      }
      return out;
    },
    async act(f) { const v = f(); return typeof v === "function" ? v() : v; },
    // ran lists what has brought something in this job.
    ran() {
      const out = [];
      for (const n of keys(queries)) if (queries[n].ran) out.push(n);
      for (const n of keys(functions)) if (functions[n].ran) out.push(n);
      return out;
    },
  };
  return app;
});
})
