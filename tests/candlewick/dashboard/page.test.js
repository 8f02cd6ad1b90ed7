import assert from "node:assert/strict";
import { test } from "node:test";

import { judged, room, sentence } from "../../../candlewick/dashboard/page/health.js";
import { path, top } from "../../../candlewick/dashboard/page/plot.js";
import { described, fits } from "../../../candlewick/dashboard/page/series_list.js";
import { days, gradient, inWords } from "../../../candlewick/dashboard/page/strip.js";

/** @param {any} changes */
const producer = (changes = {}) => ({
  process: "host-1", series: 2, source: "binance", share: "1/1", connections: 1, connections_wanted: 1, candles_per_minute: 2,
  missing: 0, due: 0, repaired: 0, absent: 0, weight_used: 1, weight_limit: 10, rest_status: null, rest_closed_seconds: 0,
  last_candle_end: "2026-11-27T12:03:00+00:00", ...changes,
});

/** @param {any} changes @param {any} [health] @returns {any} */
const state = (changes, health = { state: "recording", reasons: [] }) => ({
  health, broker: {}, writers: [], as_of_ms: 0, markets: { spot: { groups: 1, producers: [producer(changes)], stream: {} } },
});

test("the sentence says what is recorded, and up to when", () => {
  assert.equal(sentence(state({}), "utc"), "Recording 2 series; the newest candle closed at 2026-11-27 12:03 UTC.");
  assert.equal(sentence(state({ last_candle_end: null, series: 1 }), "utc"), "Recording 1 series; no candle has closed yet.");
  assert.match(sentence(state({ source: "simulated http://127.0.0.1:1" }), "utc"), /of a simulated exchange;/);
});

test("one reason stands in the sentence, several below it", () => {
  const one = state({}, { state: "dead", reasons: ["no writer lives."] });
  assert.equal(sentence(one, "utc"), "Not recording: no writer lives.");
  const two = state({}, { state: "degraded", reasons: ["a", "b"] });
  assert.equal(sentence(two, "utc"), "Not quite well, for 2 reasons:");
});

test("a connection that is gone shows at once", () => {
  const lost = state({ connections: 0 });
  assert.deepEqual(judged(lost), { how: "degraded", reasons: ["spot: 0 of 1 connection to the exchange"] });
  assert.equal(judged(state({}, { state: "dead", reasons: ["x"] })).how, "dead");
});

test("how long the disk lasts", () => {
  /** @param {any} store */
  const of = (store) => room({ free: 1e9, bytes_a_day: 1e8, ...store });
  assert.deepEqual([of({}), of({ bytes_a_day: 1 }), of({ bytes_a_day: 0 }), of({ free: null })], ["for 10 days", "for more than ten years", "", ""]);
});

test("a strip is drawn run by run, and told in words", () => {
  assert.equal(gradient("..rrm"), "linear-gradient(to right, transparent 0% 40%, var(--day-r) 40% 80%, var(--day-m) 80% 100%)");
  assert.equal(inWords("..rrm"), "2 days recorded; 1 day part of it missing");
  assert.equal(inWords(".."), "nothing yet in these days");
  assert.deepEqual(days("rM", 0), [{ ms: 0, letter: "r" }, { ms: 86400000, letter: "M" }]);
});

test("a search fits every word, in any order and any case", () => {
  const series = { market: "usdt_futures", symbol: "BTCUSDT", interval: "1m", files: 1, bytes: 1, strip: "r", state: "recorded" };
  assert.deepEqual(["", "btc", "1m usdt_f", "usdt_futures/BTCUSDT/1m", "eth", "btc 5m"].map((text) => fits(series, text)), [true, true, true, true, false, false]);
  assert.equal(described(series), "1 day recorded");
  assert.equal(described({ ...series, state: "damaged: x" }), "damaged: x. 1 day recorded");
});

test("a plot's line is broken where nothing came, and stays inside", () => {
  /** @type {import("../../../candlewick/dashboard/page/plot.js").Point[]} */
  const points = [[0, 1, 2], [10, null, null], [20, 1, 4], [30, 2, 4]];
  assert.equal(path(points, 1, 4), "M0.0 26.5M106.7 26.5L160.0 18.0");
  assert.ok(top(points) > 4);
  assert.equal(path([], 1, 1), "");
});
