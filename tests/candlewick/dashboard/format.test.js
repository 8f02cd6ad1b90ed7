import assert from "node:assert/strict";
import { test } from "node:test";

import { count, counted, date, digits, duration, moment, price, size, tick, time } from "../../../candlewick/dashboard/page/format.js";

const NOON = Date.UTC(2026, 10, 27, 12, 3, 7);

test("counts have separators, and a dash where there is none", () => {
  assert.deepEqual([0, 1234567, 59.84, null, undefined].map(count), ["0", "1,234,567", "59.8", "–", "–"]);
  assert.deepEqual([counted(1, "host"), counted(2, "host"), counted(0, "series", "series")], ["1 host", "2 hosts", "0 series"]);
});

test("sizes are decimal, with three digits at most", () => {
  assert.deepEqual([0, 999, 1000, 48123, 76_800_000_000, 2.5e15].map(size), ["0 B", "999 B", "1 kB", "48.1 kB", "76.8 GB", "2500 TB"]);
});

test("durations have one unit that fits", () => {
  assert.deepEqual([0, 0.164, 1.26, 59.6, 600, 7200, 864000].map(duration), ["0 ms", "164 ms", "1.3 s", "60 s", "10 min", "2 h", "10 days"]);
});

test("prices keep the digits that they have", () => {
  assert.deepEqual([61606.5, 0.00001234, 645, 1878.851583].map(price), ["61,606.5", "0.00001234", "645", "1,878.851583"]);
});

test("moments are told in UTC, seconds where they count", () => {
  assert.equal(date(NOON, "utc"), "2026-11-27");
  assert.equal(time(NOON, "utc"), "12:03:07");
  assert.equal(time(NOON - 7000, "utc"), "12:03");
  assert.equal(moment("2026-11-27T12:03:00+00:00", "utc"), "2026-11-27 12:03 UTC");
  assert.equal(moment(null, "utc"), "–");
});

test("local times have the offset of their day, the change to winter included", () => {
  process.env.TZ = "Europe/Berlin";
  assert.equal(moment(Date.UTC(2026, 9, 25, 0, 30), "local"), "2026-10-25 02:30 GMT+2");
  assert.equal(moment(Date.UTC(2026, 9, 25, 1, 30), "local"), "2026-10-25 02:30 GMT+1"); // an hour later
  assert.equal(moment(Date.UTC(2026, 9, 25, 2, 30), "local"), "2026-10-25 03:30 GMT+1");
});

test("ticks are days at midnight and times elsewhere", () => {
  const midnight = Date.UTC(2026, 0, 1);
  assert.deepEqual([0, 1, 2, 3, 4].map((level) => tick(midnight, level, "utc")), ["2026", "01-01", "01-01", "00:00", "00:00:00"]);
  assert.equal(tick(midnight + 3600000, 2, "utc"), "01-01 01:00", "a day's tick that is no midnight of the zone");
});

test("a price has the digits that stand behind its point, however small it is", () => {
  assert.deepEqual([645, 645.25, 4.4e-7, 0.00001234, 1e21].map(digits), [0, 2, 8, 8, 0]);
});
