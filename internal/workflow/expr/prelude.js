// What expressions of a workflow find beside the language. Everything here asks the run through call; nothing
// is kept in a machine.
(function (kernel) {
"use strict";

const {call, define} = kernel;
const {stringify, parse} = JSON;

// A call by its name, for functions whose arguments the host reads.
const pass = name => define(name, (a, b) => call(name, a, b));
for (const name of ["getVariable", "setVariable", "getTransientVariable", "setTransientVariable", "getActivityId", "getActivity",
  "getActivityProperty", "findExecutedActivityIdByType", "addJournal", "getWorkflowDefinitionIdByName", "getWorkflowDefinitionIdByTag",
  "guid", "parseGuid", "queryString", "absoluteUrl", "signalUrl", "getRemoteIPAddress", "getRouteValue", "processField",
  "setOutcome", "setOutcomes", "base64Decode"]) pass(name);

// activities.NAME.PROP() is a function for every PROP; before the activity ran
// it gives null. An unknown NAME is undefined.
const outputs = {
  get(t, prop) {
    if (typeof prop !== "string" || prop === "then" || prop === "toJSON") return undefined;
    return () => call("output", t.name, prop);
  },
  has(t, prop) { return typeof prop === "string" && call("output", t.name, prop) !== null; },
  ownKeys(t) { return call("outputs", t.name); },
  getOwnPropertyDescriptor(t, prop) {
    return typeof prop === "string" ? {value: () => call("output", t.name, prop), enumerable: true, configurable: true} : undefined;
  },
  set() { return false; },
  defineProperty() { return false; },
  deleteProperty() { return false; },
};
const activity = name => call("known", name) ? new Proxy({name}, outputs) : undefined;
define("activities", new Proxy({}, {
  get(_, name) { return typeof name === "string" && name !== "toJSON" ? activity(name) : undefined; },
  has(_, name) { return typeof name === "string" && call("known", name); },
  ownKeys() { return call("names"); },
  getOwnPropertyDescriptor(_, name) {
    const value = typeof name === "string" ? activity(name) : undefined;
    return value && {value, enumerable: true, configurable: true};
  },
  set() { return false; },
  defineProperty() { return false; },
  deleteProperty() { return false; },
}));

define("isNullOrEmpty", function isNullOrEmpty(x) { return x === null || x === undefined || x === ""; });
define("isNullOrWhiteSpace", function isNullOrWhiteSpace(x) {
  return x === null || x === undefined || typeof x === "string" && call("blank", x);
});
define("jsonEncode", function jsonEncode(x) { return stringify(x === undefined ? null : x); });
define("jsonDecode", function jsonDecode(s) { return typeof s === "string" ? parse(s) : s; });
define("base64Encode", function base64Encode(x) {
  return call("base64Encode", typeof x === "object" && x !== null && !(x instanceof Uint8Array) ? stringify(x) : x);
});
})
