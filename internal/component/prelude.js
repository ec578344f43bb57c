// What an action finds beside the language. A function of the kernel's tools; trusted. Host functions return when they
// have done their work, so that promises of it are settled at once.
(k => {
"use strict";
const {call, define} = k;
const {stringify, parse} = JSON;
const {keys, freeze, assign} = Object;

let self, env = {};

function words(v) {
  if (typeof v === "string") return v;
  if (v instanceof Error) return v.name + ": " + v.message;
  if (typeof v === "object" && v !== null) {
    try { return stringify(v); } catch { return "" + v; }
  }
  return "" + v;
}
const logging = {};
for (const level of ["trace", "debug", "info", "log", "warn", "error", "fatal"]) {
  logging[level] = {[level](...list) { call("log", level, list.map(words).join(" ")); }}[level];
}
logging.child = () => logging;
define("console", logging);

// promise is of something that is done: what did not work rejects.
const promise = f => { try { return Promise.resolve(f()); } catch (e) { return Promise.reject(e); } };

// ---- requests

const encodeForm = o => keys(o).filter(n => o[n] !== undefined && o[n] !== null)
  .map(n => (Array.isArray(o[n]) ? o[n] : [o[n]]).map(v => encodeURIComponent(n) + "=" + encodeURIComponent("" + v)).join("&")).join("&");
const withQuery = (url, qs) => {
  const q = typeof qs === "string" ? qs : encodeForm(qs || {});
  return q === "" ? url : url + (url.includes("?") ? "&" : "?") + q;
};
const headerOf = (headers, name) => {
  for (const n of keys(headers)) if (n.toLowerCase() === name) return headers[n];
};

class StatusCodeError extends Error {
  constructor(response, body, options) {
    super(response.statusCode + " - " + words(body));
    this.name = "StatusCodeError";
    assign(this, {statusCode: response.statusCode, error: body, response, options});
  }
}

// rp is request-promise, as far as token requests and API calls need it.
function rp(first, second) {
  return promise(() => {
    const o = assign({}, typeof first === "string" ? assign({}, second, {uri: first}) : first);
    const headers = assign({}, o.headers);
    let body = o.body, type;
    if (o.form !== undefined) {
      body = typeof o.form === "string" ? o.form : encodeForm(o.form);
      type = "application/x-www-form-urlencoded";
    } else if (o.json !== undefined && o.json !== false) {
      if (o.json !== true) body = o.json;
      if (body !== undefined && body !== null) { body = stringify(body); type = "application/json"; }
    }
    if (o.json !== undefined && o.json !== false && headerOf(headers, "accept") === undefined) headers.Accept = "application/json";
    const auth = o.auth || {};
    let authorization = "";
    if (auth.bearer) authorization = "Bearer " + auth.bearer;
    else if (auth.user !== undefined || auth.username !== undefined) {
      authorization = "Basic " + call("base64", (auth.user !== undefined ? auth.user : auth.username) + ":" + (auth.pass !== undefined ? auth.pass : auth.password || ""));
    }
    const r = call("http", {method: o.method || "GET", url: withQuery("" + (o.uri || o.url || ""), o.qs), headers, body: body === undefined || body === null ? null : "" + body,
      type: type || null, authorization, connection: o.connection || "", timeout: o.timeout || 0});
    let content = r.body;
    if (o.json !== undefined && o.json !== false) { try { content = parse(r.body); } catch { /* as request has it: text */ } }
    const response = {statusCode: r.status, statusMessage: r.reason, headers: r.headers, body: content};
    if (o.simple !== false && (r.status < 200 || r.status > 299)) throw new StatusCodeError(response, content, {uri: o.uri || o.url, method: o.method || "GET"});
    return o.resolveWithFullResponse ? response : content;
  });
}
for (const method of ["get", "post", "put", "patch", "del", "delete", "head"]) {
  rp[method] = (first, second) => rp(assign({}, typeof first === "string" ? assign({}, second, {uri: first}) : first, {method: method === "del" ? "DELETE" : method.toUpperCase()}));
}
define("rp", rp);
rp.defaults = base => (first, second) => rp(assign({}, base, typeof first === "string" ? assign({}, second, {uri: first}) : first));

function fetch(url, o) {
  return promise(() => {
    o = o || {};
    const headers = assign({}, o.headers), type = headerOf(headers, "content-type");
    let body = o.body;
    if (body !== undefined && body !== null && typeof body !== "string") body = typeof body.toString === "function" && body.toString !== Object.prototype.toString ? body.toString() : stringify(body);
    const r = call("http", {method: o.method || "GET", url: "" + url, headers, body: body === undefined ? null : body, type: type || null, authorization: "", connection: o.connection || "", timeout: o.timeout || 0});
    return {
      ok: r.status >= 200 && r.status <= 299, status: r.status, statusText: r.reason, url: "" + url,
      headers: {get: n => { const v = headerOf(r.headers, ("" + n).toLowerCase()); return v === undefined ? null : v; }, raw: () => r.headers},
      text: () => Promise.resolve(r.body),
      json: () => promise(() => parse(r.body)),
    };
  });
}
define("fetch", fetch);

// ---- co: generators that yield promises

const isGenerator = v => v && typeof v.next === "function" && typeof v.throw === "function";
function co(gen, ...args) {
  const on = this === undefined || this === null || this === globalThis ? self : this;
  return new Promise((resolve, reject) => {
    if (typeof gen === "function") gen = gen.apply(on, args);
    if (!isGenerator(gen)) { resolve(gen); return; }
    const step = (how, v) => {
      let r;
      try { r = gen[how](v); } catch (e) { reject(e); return; }
      if (r.done) { resolve(r.value); return; }
      const p = toPromise(r.value, on);
      if (p === undefined) step("throw", new TypeError("co: a function, promise, generator, list or object can be yielded, not " + words(r.value)));
      else p.then(v => step("next", v), e => step("throw", e));
    };
    step("next");
  });
}
function toPromise(v, on) {
  if (v && typeof v.then === "function") return v;
  if (isGenerator(v)) return co.call(on, v);
  if (typeof v === "function") {
    if (v.constructor && v.constructor.name === "GeneratorFunction") return co.call(on, v);
    return new Promise((resolve, reject) => v.call(on, (e, ...r) => e ? reject(e) : resolve(r.length > 1 ? r : r[0])));
  }
  if (Array.isArray(v)) return Promise.all(v.map(x => toPromise(x, on) || x));
  if (typeof v === "object" && v !== null) {
    const names = keys(v);
    return Promise.all(names.map(n => toPromise(v[n], on) || v[n])).then(list => { const out = {}; names.forEach((n, i) => { out[n] = list[i]; }); return out; });
  }
}
co.wrap = gen => function (...args) { return co.call(this, gen.apply(this, args)); };
co.co = co.default = co;
define("co", co);

// ---- modules

const message = body => ({body, headers: {}, attachments: {}});
const modules = {
  "co": () => co,
  "request-promise": () => rp, "request-promise-native": () => rp, "rp": () => rp,
  "node-fetch": () => fetch,
  "querystring": () => ({stringify: encodeForm, escape: encodeURIComponent, unescape: decodeURIComponent}),
  "elasticio-node": () => ({messages: {newMessageWithBody: message, newEmptyMessage: () => message({})}}),
};
modules["elasticio-sailor-nodejs"] = modules["elasticio-node"];
function require(name) {
  const m = Object.prototype.hasOwnProperty.call(modules, name) ? modules[name] : undefined;
  if (m === undefined) {
    throw new Error("require: there is no module " + stringify("" + name) + ": packages of npm and other files are not read here; there are " + keys(modules).join(", "));
  }
  return m();
}

// ---- one message

define("__component", (define, input) => {
  env = freeze(assign({}, input.env));
  const cfg = input.cfg;
  const data = v => call("data", v === undefined ? null : v);
  const events = {
    data: v => data(v),
    error: e => call("error", words(e)),
    rebound: e => call("rebound", words(e === undefined ? "" : e)),
    snapshot: v => call("snapshot", v === undefined ? null : v),
    updateSnapshot: v => call("updateSnapshot", v && typeof v === "object" && v.$set ? v.$set : v),
    updateKeys: (v, options) => {
      const r = call("updateKeys", v === undefined ? null : v, !!(options && options.replace));
      cfg[r.field] = r.keys;
    },
    end: () => {},
  };
  self = {
    emit(event, payload, options) {
      return promise(() => {
        const f = Object.prototype.hasOwnProperty.call(events, event) ? events[event] : undefined;
        if (f === undefined) throw new Error("emit: the event " + words(event) + " is not in this version; there are " + keys(events).join(", "));
        f(payload, options);
        return true;
      });
    },
    logger: logging,
    getFlowVariables: () => assign({}, input.flow),
  };
  const module = {exports: {}};
  define.call(module.exports, module.exports, module, require, {env, on() {}, nextTick(f, ...a) { Promise.resolve().then(() => f(...a)); }});
  const action = module.exports.process || (typeof module.exports === "function" ? module.exports : undefined);
  if (typeof action !== "function") throw new TypeError("the action has no function process: exports.process = async function (msg, cfg, snapshot) {…}");
  return Promise.resolve(action.call(self, input.msg, cfg, input.snapshot)).then(v => { if (v !== undefined) data(v); });
});
})
