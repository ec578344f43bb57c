// Instants, lengths of time and days as expressions of the platform know them, and two of its static types. Few
// scripts mention any: they are loaded when one does. Nothing of the run is reached but through call.
(function (kernel) {
"use strict";

const {call, define, hidden, swapFirst, isDate, timeOf, Date, create, defineProperty, ownKeys} = kernel;
const {round, trunc, abs, floor} = Math;

// ---- instants: an Instant is a Date

const day = 86400000;
const both = (o, name, f) => { hidden(o, name, f); hidden(o, swapFirst(name), f); };
const getter = (o, name, get) => {
  for (const k of [name, swapFirst(name)]) defineProperty(o, k, {get, enumerable: false, configurable: true});
};
const instant = x => {
  const d = isDate(x) ? x : new Date(typeof x === "object" && x !== null && x instanceof LocalDate ? x.ms : x);
  if (!(timeOf(d) === timeOf(d))) throw new TypeError("not an instant: " + x);
  return d;
};
const two = n => n < 10 ? "0" + n : "" + n;

// Duration is a length of time in milliseconds; it leaves a script as the text
// [-][d.]hh:mm:ss[.fff], which is what activities read.
class Duration {
  constructor(ms) {
    if (!(ms === +ms) || abs(ms) === Infinity) throw new TypeError("not a length of time: " + ms);
    hidden(this, "ms", ms);
  }
  toString() {
    let ms = round(abs(this.ms)), d = trunc(ms / day), f = ms % 1000;
    ms = trunc(ms / 1000);
    return (this.ms < 0 ? "-" : "") + (d ? d + "." : "") + two(trunc(ms / 3600) % 24) + ":" + two(trunc(ms / 60) % 60) + ":" + two(ms % 60) +
      (f ? "." + ("00" + f).slice(-3) : "");
  }
  toJSON() { return this.toString(); }
  [Symbol.toPrimitive](hint) { return hint === "number" ? this.ms : this.toString(); }
}
const units = {Days: day, Hours: 3600000, Minutes: 60000, Seconds: 1000, Milliseconds: 1, Ticks: 0.0001};
for (const u of ownKeys(units)) {
  both(Duration, "From" + u, n => new Duration(+n * units[u]));
  getter(Duration.prototype, "Total" + u, function () { return this.ms / units[u]; });
}
for (const [u, in_] of [["Days", Infinity], ["Hours", 24], ["Minutes", 60], ["Seconds", 60], ["Milliseconds", 1000]]) {
  getter(Duration.prototype, u, function () { return trunc(this.ms / units[u]) % in_; });
}
getter(Duration, "Zero", () => new Duration(0));
const duration = x => {
  if (x instanceof Duration) return x;
  if (x instanceof Period) return new Duration(x.days * day + x.ms);
  if (typeof x === "number") return new Duration(x);
  throw new TypeError("not a Duration: " + x);
};
both(Duration.prototype, "Plus", function (o) { return new Duration(this.ms + duration(o).ms); });
both(Duration.prototype, "Minus", function (o) { return new Duration(this.ms - duration(o).ms); });
both(Duration.prototype, "Negate", function () { return new Duration(-this.ms); });

// Period counts in the calendar: months and days, and what is less than a day.
class Period {
  constructor(months, days, ms) {
    for (const [k, v] of [["months", months], ["days", days], ["ms", ms]]) hidden(this, k, v);
  }
  toString() {
    const y = trunc(this.months / 12), m = this.months % 12, ms = this.ms, s = ms % 60000 / 1000;
    const date = (y ? y + "Y" : "") + (m ? m + "M" : "") + (this.days ? this.days + "D" : "");
    const time = (trunc(ms / 3600000) ? trunc(ms / 3600000) + "H" : "") + (trunc(ms / 60000) % 60 ? trunc(ms / 60000) % 60 + "M" : "") + (s ? s + "S" : "");
    return "P" + date + (time ? "T" + time : "") + (date || time ? "" : "0D");
  }
  toJSON() { return this.toString(); }
}
for (const [u, f] of [["Years", n => [12 * n, 0, 0]], ["Months", n => [n, 0, 0]], ["Weeks", n => [0, 7 * n, 0]], ["Days", n => [0, n, 0]],
  ["Hours", n => [0, 0, n * 3600000]], ["Minutes", n => [0, 0, n * 60000]], ["Seconds", n => [0, 0, n * 1000]]]) {
  both(Period, "From" + u, n => { const [m, d, ms] = f(+n); return new Period(m, d, ms); });
}
getter(Period.prototype, "Years", function () { return trunc(this.months / 12); });
getter(Period.prototype, "Months", function () { return this.months % 12; });
getter(Period.prototype, "Days", function () { return this.days; });
getter(Period.prototype, "Hours", function () { return trunc(this.ms / 3600000); });
getter(Period.prototype, "Minutes", function () { return trunc(this.ms / 60000) % 60; });
getter(Period.prototype, "Seconds", function () { return trunc(this.ms / 1000) % 60; });
both(Period.prototype, "ToDuration", function () { return duration(this); });

// months later, on the same day or the last one of a shorter month
function addMonths(d, n) {
  const first = new Date(Date.UTC(d.getUTCFullYear(), d.getUTCMonth() + n, 1));
  const last = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 0)).getUTCDate();
  return new Date(timeOf(first) + ((d.getUTCDate() < last ? d.getUTCDate() : last) - 1) * day + timeOf(d) % day);
}
function shift(at, by, sign) {
  if (by instanceof Period) return new Date(timeOf(addMonths(at, sign * by.months)) + sign * (by.days * day + by.ms));
  return new Date(timeOf(at) + sign * duration(by).ms);
}

// LocalDate is a day of the calendar; it leaves a script as yyyy-MM-dd.
class LocalDate {
  constructor(y, m, d) { hidden(this, "ms", Date.UTC(+y, +m - 1, +d)); }
  toString() { return new Date(this.ms).toISOString().slice(0, 10); }
  toJSON() { return this.toString(); }
  [Symbol.toPrimitive](hint) { return hint === "number" ? this.ms : this.toString(); }
}
const onDay = ms => { const d = new Date(ms); return new LocalDate(d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate()); };
getter(LocalDate.prototype, "Year", function () { return new Date(this.ms).getUTCFullYear(); });
getter(LocalDate.prototype, "Month", function () { return new Date(this.ms).getUTCMonth() + 1; });
getter(LocalDate.prototype, "Day", function () { return new Date(this.ms).getUTCDate(); });
both(LocalDate.prototype, "PlusDays", function (n) { return onDay(this.ms + n * day); });
both(LocalDate.prototype, "PlusWeeks", function (n) { return onDay(this.ms + n * 7 * day); });
both(LocalDate.prototype, "PlusMonths", function (n) { return onDay(timeOf(addMonths(new Date(this.ms), n))); });
both(LocalDate.prototype, "PlusYears", function (n) { return onDay(timeOf(addMonths(new Date(this.ms), 12 * n))); });

class LocalTime {
  constructor(h, m, s, ms) { hidden(this, "ms", (+h || 0) * 3600000 + (+m || 0) * 60000 + (+s || 0) * 1000 + (+ms || 0)); }
  toString() { return new Duration(this.ms).toString(); }
  toJSON() { return this.toString(); }
  [Symbol.toPrimitive](hint) { return hint === "number" ? this.ms : this.toString(); }
}
getter(LocalTime.prototype, "Hour", function () { return trunc(this.ms / 3600000); });
getter(LocalTime.prototype, "Minute", function () { return trunc(this.ms / 60000) % 60; });
getter(LocalTime.prototype, "Second", function () { return trunc(this.ms / 1000) % 60; });
class LocalDateTime {
  constructor(y, mo, d, h, m, s) { hidden(this, "ms", Date.UTC(+y, +mo - 1, +d, +h || 0, +m || 0, +s || 0)); }
  toString() { return new Date(this.ms).toISOString().slice(0, 19); }
  toJSON() { return this.toString(); }
  [Symbol.toPrimitive](hint) { return hint === "number" ? this.ms : this.toString(); }
}
getter(LocalDateTime.prototype, "Date", function () { return onDay(this.ms); });

const Instant = create(null);
both(Instant, "FromDateTimeUtc", d => new Date(timeOf(instant(d))));
both(Instant, "FromUtc", (y, mo, d, h, m, s) => new Date(Date.UTC(+y, +mo - 1, +d, +h || 0, +m || 0, +s || 0)));
both(Instant, "FromUnixTimeSeconds", n => new Date(n * 1000));
both(Instant, "FromUnixTimeMilliseconds", n => new Date(+n));
getter(Instant, "MinValue", () => new Date(-62135596800000));
getter(Instant, "MaxValue", () => new Date(253402300799999));
const DP = Date.prototype;
both(DP, "Plus", function (d) { return shift(this, d, 1); });
both(DP, "Minus", function (x) { return isDate(x) ? new Duration(timeOf(this) - timeOf(x)) : shift(this, x, -1); });
both(DP, "ToUnixTimeSeconds", function () { return floor(timeOf(this) / 1000); });
both(DP, "ToUnixTimeMilliseconds", function () { return timeOf(this); });
both(DP, "ToDateTimeUtc", function () { return new Date(timeOf(this)); });

for (const [name, v] of [["Instant", Instant], ["Duration", Duration], ["Period", Period], ["LocalDate", LocalDate], ["LocalTime", LocalTime], ["LocalDateTime", LocalDateTime]]) define(name, v);

const add = (a, b, sign) => {
  if (a instanceof Duration) return new Duration(a.ms + sign * duration(b).ms);
  if (sign < 0 && isDate(b)) return new Duration(timeOf(instant(a)) - timeOf(b));
  return shift(instant(a), b, sign);
};
const month = (x, n) => { const d = x === undefined || x === null ? new Date() : instant(x); return new LocalDate(d.getUTCFullYear(), d.getUTCMonth() + 1 + n, 1); };
for (const [name, f] of [
  ["currentInstant", () => new Date()],
  ["currentYear", () => new Date().getUTCFullYear()],
  ["startOfMonth", x => month(x, 0)],
  ["endOfMonth", x => onDay(month(x, 1).ms - day)],
  ["startOfPreviousMonth", x => month(x, -1)],
  ["instantFromDateTimeUtc", d => new Date(timeOf(instant(d)))],
  ["instantFromUtc", Instant.FromUtc],
  ["plus", (a, b) => add(a, b, 1)],
  ["minus", (a, b) => add(a, b, -1)],
  ["addDurationTo", (at, d) => add(at, d, 1)],
  ["subtractDurationFrom", (at, d) => add(at, d, -1)],
  ["durationFromSeconds", n => Duration.FromSeconds(n)],
  ["durationFromMinutes", n => Duration.FromMinutes(n)],
  ["durationFromHours", n => Duration.FromHours(n)],
  ["durationFromDays", n => Duration.FromDays(n)],
  ["durationBetween", (a, b) => new Duration(timeOf(instant(b)) - timeOf(instant(a)))],
  ["localDateFromInstant", x => onDay(timeOf(instant(x)))],
  ["instantFromLocalDate", d => new Date(d instanceof LocalDate ? d.ms : timeOf(instant(d)))],
  ["periodFromNow", x => {
    const from = new Date(), to = instant(x);
    let months = (to.getUTCFullYear() - from.getUTCFullYear()) * 12 + to.getUTCMonth() - from.getUTCMonth();
    if (months > 0 && timeOf(addMonths(from, months)) > timeOf(to)) months--;
    if (months < 0 && timeOf(addMonths(from, months)) < timeOf(to)) months++;
    const rest = timeOf(to) - timeOf(addMonths(from, months));
    return new Period(months, trunc(rest / day), rest % day);
  }],
  ["formatInstant", (x, format) => call("formatInstant", new Date(timeOf(instant(x))), format === undefined ? null : format)],
]) define(name, f);

// ---- static types of the platform that scripts name

const Guid = create(null);
both(Guid, "NewGuid", () => call("guid"));
both(Guid, "Parse", s => call("parseGuid", s));
hidden(Guid, "Empty", "00000000-0000-0000-0000-000000000000");
define("Guid", Guid);
const UTF8 = create(null), Encoding = create(null);
both(UTF8, "GetBytes", s => call("bytes", "" + s));
both(UTF8, "GetString", b => call("text", b));
hidden(Encoding, "UTF8", UTF8);
define("Encoding", Encoding);
})
