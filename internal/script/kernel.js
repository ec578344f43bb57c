// The part of a machine that stands between a script and Go. It runs once, before any script, and keeps what it
// uses of the language in constants: whatever a script does to the language afterwards, this keeps working.
//
//   host(name, ...texts)  the one way out; Go answers with a scalar or a tagged text
//   mark                  the member that marks what JSON has no word for; no script can know it
//   kinds                 {kind: [members found with either case of their first letter]}
//   clock                 whether host("") tells the time
//   prelude               what the caller adds to the globals, a function of the tools below
(function (host, mark, kinds, clock, maxOutput, prelude) {
"use strict";

const g = globalThis;
const {defineProperty, getPrototypeOf, create, preventExtensions} = Object;
const {ownKeys, apply, construct, deleteProperty} = Reflect;
const {parse, stringify} = JSON;
const {isArray} = Array;
const indirect = eval;
const free = f => Function.prototype.call.bind(f);
const slice = free(String.prototype.slice);
const charAt = free(String.prototype.charCodeAt);
const hasOwn = free(Object.prototype.hasOwnProperty);
const exec = free(RegExp.prototype.exec);
const then = free(Promise.prototype.then);
const push = free(Array.prototype.push);
const hidden = (o, k, value) => defineProperty(o, k, {value, writable: true, enumerable: false, configurable: true});
const swapFirst = s => {
  const c = s[0], u = c.toUpperCase();
  return (c === u ? c.toLowerCase() : u) + s.slice(1);
};

for (const k of ["__host", "__mark", "__clock", "__output"]) delete g[k];

// What has no use here, or would only tell apart or block machines.
for (const k of ["SharedArrayBuffer", "Atomics", "WeakRef", "FinalizationRegistry"]) delete g[k];

// ---- instants: always UTC, an invariant culture, the clock of the process or of a test

const RealDate = Date, DP = RealDate.prototype;
const timeOf = free(DP.getTime), offsetOf = free(DP.getTimezoneOffset), iso = free(DP.toISOString), utcText = free(DP.toUTCString);
const realNow = RealDate.now, UTC = RealDate.UTC, parseDate = RealDate.parse;
const now = clock ? () => host("") : realNow;
const zoned = /(?:\d:\d\d.*[+-]\d\d:?\d\d|\dZ|\b(?:UTC?|GMT|[ECMP][SD]T)\b.*)\s*$/i;
const dateOnly = /^\s*[+-]?\d{4,6}(?:-\d\d(?:-\d\d)?)?\s*$/;

// The engine reads a text without a zone in the zone of the process.
function parseUTC(text) {
  const s = "" + text, t = parseDate(s);
  if (t !== t) return t;
  const off = offsetOf(new RealDate(t));
  if (off === 0 || exec(zoned, s) !== null || exec(dateOnly, s) !== null) return t;
  return t - off * 60000;
}
function isDate(v) {
  try { timeOf(v); return true; } catch { return false; }
}
const two = n => n < 10 ? "0" + n : "" + n;
function CalmDate(a) {
  let t;
  if (arguments.length === 0 || !new.target) t = now();
  else if (arguments.length > 1) t = apply(UTC, RealDate, arguments);
  else if (typeof a === "string") t = parseUTC(a);
  else if (typeof a === "object" && a !== null) t = timeOf(new RealDate(a));
  else t = +a;
  if (!new.target) return text(new RealDate(t));
  return construct(RealDate, [t], new.target);
}
const {getUTCHours, getUTCMinutes, getUTCSeconds, getUTCMonth, getUTCDate, getUTCFullYear} = DP;
const part = (d, f) => apply(f, d, []);
const valid = d => { const t = timeOf(d); return t === t; };
function day(d) { // "Thu Jan 01 1970" out of "Thu, 01 Jan 1970 00:00:00 GMT"
  const s = utcText(d);
  return slice(s, 0, 3) + " " + slice(s, 8, 11) + " " + slice(s, 5, 7) + slice(s, 11, -13);
}
const clockTime = d => two(part(d, getUTCHours)) + ":" + two(part(d, getUTCMinutes)) + ":" + two(part(d, getUTCSeconds));
const year4 = y => y < 1000 ? slice("0000" + y, -4) : "" + y;
const plainDay = d => two(part(d, getUTCMonth) + 1) + "/" + two(part(d, getUTCDate)) + "/" + year4(part(d, getUTCFullYear));
const text = d => valid(d) ? day(d) + " " + clockTime(d) + " GMT+0000" : "Invalid Date";
hidden(DP, "toLocaleString", {toLocaleString() { return valid(this) ? plainDay(this) + " " + clockTime(this) : "Invalid Date"; }}.toLocaleString);
hidden(DP, "toLocaleDateString", {toLocaleDateString() { return valid(this) ? plainDay(this) : "Invalid Date"; }}.toLocaleDateString);
hidden(DP, "toLocaleTimeString", {toLocaleTimeString() { return valid(this) ? clockTime(this) : "Invalid Date"; }}.toLocaleTimeString);

// In a process that lives in UTC the rest is as it should be.
const probe = (...at) => at.every(t => offsetOf(new RealDate(t)) === 0);
if (!probe(-1e12, 0, 1e11, 9e11, 1767225600000, 1782864000000)) {
  for (const f of ["Date", "Day", "FullYear", "Hours", "Milliseconds", "Minutes", "Month", "Seconds"]) {
    hidden(DP, "get" + f, DP["getUTC" + f]);
    if (f !== "Day") hidden(DP, "set" + f, DP["setUTC" + f]);
  }
  const dated = {
    getTimezoneOffset() { timeOf(this); return 0; },
    getYear() { return part(this, getUTCFullYear) - 1900; },
    setYear(y) { y = +y; return this.setUTCFullYear(y >= 0 && y <= 99 ? 1900 + y : y); },
    toString() { return text(this); },
    toDateString() { return valid(this) ? day(this) : "Invalid Date"; },
    toTimeString() { return valid(this) ? clockTime(this) + " GMT+0000" : "Invalid Date"; },
  };
  for (const k of ownKeys(dated)) hidden(DP, k, dated[k]);
}
hidden(DP, "constructor", CalmDate);
defineProperty(CalmDate, "prototype", {value: DP, writable: false});
defineProperty(CalmDate, "name", {value: "Date"});
defineProperty(CalmDate, "length", {value: 7});
hidden(CalmDate, "UTC", UTC);
hidden(CalmDate, "parse", {parse(s) { return parseUTC(s); }}.parse);
hidden(CalmDate, "now", {now() { return now(); }}.now);
hidden(g, "Date", CalmDate);

// ---- values: JSON in, JSON out, with marks for instants, bytes and the platform's objects

let encoding = false, marked = false;
const toISO = DP.toJSON;
hidden(DP, "toJSON", {toJSON(k) {
  if (!encoding) return apply(toISO, this, [k]);
  if (!valid(this)) return null;
  marked = true;
  return {[mark]: "time", v: iso(this)};
}}.toJSON);
const Bytes = Uint8Array, BytesProto = Bytes.prototype;
const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
function base64(b) {
  const n = b.length, chunks = [];
  let s = "";
  for (let i = 0; i < n; i += 3) {
    const x = b[i] << 16 | (i + 1 < n ? b[i + 1] : 0) << 8 | (i + 2 < n ? b[i + 2] : 0);
    s += digits[x >> 18] + digits[x >> 12 & 63] + (i + 1 < n ? digits[x >> 6 & 63] : "=") + (i + 2 < n ? digits[x & 63] : "=");
    if (s.length > 4096) { push(chunks, s); s = ""; }
  }
  let out = "";
  for (let i = 0; i < chunks.length; i++) out += chunks[i];
  return out + s;
}
const codes = new Uint8Array(128);
for (let i = 0; i < 64; i++) codes[charAt(digits, i)] = i;
function unbase64(s) {
  let n = s.length;
  while (n > 0 && s[n - 1] === "=") n--;
  const b = new Bytes(n * 3 >> 2);
  for (let i = 0, o = 0, x = 0, bits = 0; i < n; i++) {
    x = (x << 6 | codes[charAt(s, i)]) & 0xffffff;
    if ((bits += 6) >= 8) b[o++] = x >> (bits -= 8) & 255;
  }
  return b;
}
hidden(BytesProto, "toJSON", {toJSON() {
  if (!encoding) return this;
  marked = true;
  return {[mark]: "bytes", v: base64(this)};
}}.toJSON);
const bigText = free(BigInt.prototype.toString);
hidden(BigInt.prototype, "toJSON", {toJSON() {
  if (!encoding) throw new TypeError("a BigInt has no JSON");
  return big(this.valueOf());
}}.toJSON);
function big(n) {
  return n >= -9007199254740991n && n <= 9007199254740991n ? Number(n) : bigText(n);
}

// The platform's objects: their members have accessors of the other case on a
// prototype, so that nothing lists or prints a member twice.
const protos = {__proto__: null}, aliases = {__proto__: null};
function known(kind) {
  const p = create(Object.prototype), names = {__proto__: null};
  for (let i = 0; i < kinds[kind].length; i++) {
    const name = kinds[kind][i], alias = swapFirst(name);
    names[alias] = true;
    defineProperty(p, alias, {
      get() { return this[name]; },
      set(v) { this[name] = v; },
      enumerable: false, configurable: false,
    });
  }
  hidden(p, "toJSON", {toJSON() {
    if (!encoding || getPrototypeOf(this) !== p) return this;
    marked = true;
    const pairs = [], keys = ownKeys(this);
    for (let i = 0; i < keys.length; i++) if (typeof keys[i] === "string") push(pairs, [keys[i], this[keys[i]]]);
    return {[mark]: kind, v: pairs};
  }}.toJSON);
  protos[kind] = preventExtensions(p);
  aliases[kind] = names;
}
function revive(v) {
  if (typeof v !== "object" || v === null) return v;
  if (isArray(v)) {
    for (let i = 0; i < v.length; i++) v[i] = revive(v[i]);
    return v;
  }
  if (!hasOwn(v, mark)) {
    const keys = ownKeys(v);
    for (let i = 0; i < keys.length; i++) v[keys[i]] = revive(v[keys[i]]);
    return v;
  }
  const kind = v[mark], inner = v.v;
  if (kind === "time") return construct(RealDate, [parseDate(inner)], CalmDate);
  if (kind === "bytes") return unbase64(inner);
  if (protos[kind] === undefined) known(kind);
  const o = create(protos[kind]), taken = aliases[kind];
  for (let i = 0; i < inner.length; i++) {
    const k = inner[i][0], x = revive(inner[i][1]);
    if (k in taken || k === "toJSON") defineProperty(o, k, {value: x, writable: true, enumerable: true, configurable: true});
    else o[k] = x;
  }
  return o;
}

// Scalars cross as they are; a text has a tag in front: s text, j JSON, m JSON
// with marks.
function decode(r) {
  if (typeof r !== "string") return r;
  const tag = r[0], rest = slice(r, 1);
  if (tag === "s") return rest;
  return tag === "m" ? revive(parse(rest)) : parse(rest);
}
class TooMuch extends Error {}
hidden(TooMuch.prototype, "name", "LimitError");
function encode(v) {
  switch (typeof v) {
  case "string":
    if (v.length > maxOutput) throw new TooMuch("output");
    return "s" + v;
  case "number": case "boolean": case "undefined":
    return v;
  case "bigint":
    v = big(v);
    return typeof v === "string" ? "s" + v : v;
  case "object":
    if (v === null) return v;
    break;
  default: // functions and symbols are no values
    return undefined;
  }
  encoding = true;
  marked = false;
  let s, m;
  try { s = stringify(v); m = marked; } finally { encoding = false; marked = false; }
  if (s === undefined) return undefined;
  if (s.length > maxOutput) throw new TooMuch("output");
  return (m ? "m" : "j") + s;
}
const call = (name, ...args) => {
  const texts = [name];
  for (let i = 0; i < args.length; i++) push(texts, encode(args[i]));
  return decode(apply(host, undefined, texts));
};

// ---- what the engine does in one go has a bound
//
// It looks for an interrupt when a function is called and when a loop turns, not inside a function of the language.
// Few of these can take long within the limit of memory; those that can are refused, or done here, where they turn.

const longest = 4e6;     // elements; more do not fit into a machine
const mostWork = 4e9;    // characters compared
const tooLong = what => { throw new TooMuch("length: " + what); };
function bound(proto, names, check) {
  for (let i = 0; i < names.length; i++) {
    const f = proto[names[i]];
    proto[names[i]] = function (x) { // it stays hidden
      if (this !== null && this !== undefined) check(this, x);
      return apply(f, this, arguments);
    };
  }
}
const AP = Array.prototype;
const listed = o => { if (o.length > longest) tooLong("a list of " + o.length + " elements"); };
bound(AP, ["concat", "copyWithin", "every", "fill", "filter", "find", "findIndex", "findLast", "findLastIndex", "flatMap", "forEach", "join", "map",
  "reduce", "reduceRight", "reverse", "shift", "slice", "some", "splice", "toReversed", "toSpliced", "toString", "toLocaleString", "unshift", "with"], listed);
bound(AP, ["includes", "indexOf", "lastIndexOf"], (o, x) => {
  listed(o);
  if (typeof x === "string" && x.length * o.length > mostWork) tooLong("a list of long texts");
});
bound(String.prototype, ["includes", "indexOf", "lastIndexOf", "split", "replace", "replaceAll"], (s, x) => {
  if (typeof s === "string" && s.length > 1e4 && typeof x === "string" && (s.length - x.length) * x.length > mostWork) tooLong("a text of " + s.length + " characters");
});
const compare = (a, b) => { a = "" + a; b = "" + b; return a < b ? -1 : a > b ? 1 : 0; };
for (const name of ["sort", "toSorted"]) {
  const f = AP[name];
  hidden(AP, name, {[name](by) { listed(this); return apply(f, this, [by === undefined ? compare : by]); }}[name]);
}
function flatten(out, o, depth) {
  listed(o);
  for (let i = 0; i < o.length; i++) {
    if (!(i in o)) continue;
    if (depth > 0 && isArray(o[i])) flatten(out, o[i], depth - 1);
    else push(out, o[i]);
  }
  return out;
}
hidden(AP, "flat", {flat(depth) { return flatten([], this, depth === undefined ? 1 : +depth); }}.flat);

// ---- lists count as the platform's do

for (const k of ["Count", "count"]) {
  defineProperty(Array.prototype, k, {
    get() { return this.length; },
    set(v) { defineProperty(this, k, {value: v, writable: true, enumerable: true, configurable: true}); },
    enumerable: false, configurable: true,
  });
}

// ---- what the caller adds

const define = (name, v) => hidden(g, name, v);
const tools = {call, define, hidden, swapFirst, isDate, timeOf, Date: CalmDate, create, defineProperty, ownKeys};
if (prelude) prelude(tools);

// ---- nothing that JSON brings can reach what all objects share

delete Object.prototype.__proto__;
preventExtensions(Object.prototype);
const shared = ownKeys(Object.prototype), sharedValues = shared.map(k => Object.prototype[k]);
const ObjectProto = Object.prototype;

let base, baseValues, strings;
function remember() {
  base = ownKeys(g);
  baseValues = [];
  strings = 0;
  for (let i = 0; i < base.length; i++) {
    push(baseValues, g[base[i]]);
    if (typeof base[i] === "string") strings++;
  }
}
remember();
// extend adds what a script mentions and few need.
function extend(more) { more(tools); remember(); }
const constant = {__proto__: null, NaN: true, Infinity: true, undefined: true};

// clean takes away what a script left behind; false says that it cannot.
function clean() {
  const keys = ownKeys(g);
  let i = 0;
  while (i < strings && keys[i] === base[i]) i++;
  if (i < strings) return false;
  const more = keys.length - base.length;
  for (; i < strings + more; i++) {
    if (typeof keys[i] !== "string" || !deleteProperty(g, keys[i])) return false;
  }
  for (i = 0; i < strings; i++) {
    const k = base[i];
    if (g[k] !== baseValues[i] && !constant[k]) hidden(g, k, baseValues[i]);
  }
  for (i = 0; i < shared.length; i++) if (ObjectProto[shared[i]] !== sharedValues[i]) return false;
  return true; // nothing can be added to it
}

const short = v => typeof v === "string" ? slice(v, 0, 2000) : "";
function fault(e) {
  let name = "Error", message = "", stack = "";
  try {
    if (typeof e === "object" && e !== null) {
      name = short(e.name) || "Error";
      message = short(e.message);
      stack = short(e.stack);
      if (message === "" && stack === "") message = short(stringify(e));
    } else {
      message = short("" + e);
      name = "";
    }
  } catch { message = "an error that cannot be shown"; }
  return "e" + stringify([name, message, stack]);
}
const finish = (out, mode, names) => (mode & 2 ? forget(names) : clean()) ? out : "!" + (out === undefined ? "u" : typeof out === "string" ? out : "j" + stringify(out));

// forget takes away what run defined, after a script that can define nothing.
function forget(names) {
  for (let i = 0; i < names.length; i++) if (!deleteProperty(g, names[i])) return false;
  return true;
}

let settled = 0, outcome;
// mode 1: the script may leave promises; mode 2: it can change no global
function run(source, mode, ...names) {
  let out;
  try {
    for (let i = 0; i < names.length; i++) {
      defineProperty(g, names[i], {value: decode(host("=", "s" + names[i])), writable: true, enumerable: true, configurable: true});
    }
    const v = indirect(source);
    if (mode & 1) {
      settled = 0;
      outcome = v;
      try {
        then(v, x => { settled = 1; outcome = x; }, x => { settled = 2; outcome = x; });
      } catch { settled = 1; }
      return "p";
    }
    out = encode(v);
  } catch (e) { out = fault(e); }
  return finish(out, mode, names);
}
function settle() {
  let out;
  try {
    if (settled === 0) throw new TooMuch("promise");
    if (settled === 2) throw outcome;
    out = encode(outcome);
  } catch (e) { out = fault(e); }
  outcome = undefined;
  return finish(out, 0);
}
return {run, settle, extend};
})
