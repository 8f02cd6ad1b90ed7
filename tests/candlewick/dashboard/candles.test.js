import assert from "node:assert/strict";
import { test } from "node:test";

import { Candles } from "../../../candlewick/dashboard/page/candles.js";

/** @typedef {import("../../../candlewick/dashboard/page/candles.js").Row} Row */

/** @param {...number} times @returns {Row[]} */
const rows = (...times) => times.map((time) => [time, 1, 2, 0.5, 1.5, 10]);

/** @param {number} begin @param {number} end @param {string} [kind] */
const gap = (begin, end, kind = "missing") => ({ begin, end, candles: end - begin, kind, reason: "" });

/** @param {Candles} candles */
const times = (candles) => candles.rows.map((row) => row[0]);

test("a candle is its open time: what comes twice or late is there once, in its place", () => {
  const candles = new Candles();
  assert.deepEqual(candles.add(rows(4, 3)), rows(3, 4), "in order, whatever order they came in");
  assert.deepEqual(candles.add(rows(5, 5)), rows(5));
  assert.equal(candles.add(rows(4)), null);
  assert.equal(candles.add(rows(7, 2)), null);
  assert.deepEqual(times(candles), [2, 3, 4, 5, 7]);
  candles.add([[4, 9, 9, 9, 9, 9]]);
  assert.equal(candles.rows[2][1], 9);
});

test("in whatever order a set of candles comes, the same are there", () => {
  for (let seed = 1; seed < 200; seed += 1) {
    const candles = new Candles();
    let state = seed;
    const next = () => { state = (state * 48271) % 2147483647; return state; };
    const given = new Set();
    for (let batch = 0; batch < 8; batch += 1) {
      const some = Array.from({ length: 1 + (next() % 4) }, () => next() % 20);
      some.forEach((time) => given.add(time));
      candles.add(rows(...some));
    }
    assert.deepEqual(times(candles), [...given].sort((a, b) => a - b));
  }
});

test("older pieces are put before what is there, until there is no more", () => {
  const candles = new Candles();
  candles.load({ candles: rows(10, 11), gaps: [], more: true });
  candles.load({ candles: rows(8, 9), gaps: [], more: true }, 10);
  assert.equal(candles.more, true);
  candles.load({ candles: rows(7), gaps: [], more: false }, 8);
  assert.deepEqual(times(candles), [7, 8, 9, 10, 11]);
  assert.equal(candles.more, false);
  candles.load({ candles: rows(11, 12), gaps: [], more: true });
  assert.equal(candles.more, false, "the newest piece says nothing of the oldest");
});

test("gaps of a piece that is loaded again replace those that were known of its time", () => {
  const candles = new Candles();
  candles.load({ candles: rows(10, 11, 15), gaps: [gap(12, 15)], more: true });
  candles.load({ candles: rows(2, 8), gaps: [gap(3, 8, "absent")], more: true }, 10);
  assert.deepEqual(candles.gaps.map((one) => one.begin), [3, 12]);
  candles.load({ candles: rows(10, 11, 12, 13, 14, 15), gaps: [], more: true });
  assert.deepEqual(candles.gaps.map((one) => one.begin), [3]);
  assert.equal(candles.gapAt(7)?.kind, "absent");
  assert.equal(candles.gapAt(8), undefined);
});

test("a page that was away for longer than a piece begins anew, without a false neighbour", () => {
  for (const live of [[], rows(52)]) { // what is live may come before history does
    const candles = new Candles();
    candles.load({ candles: rows(10, 11), gaps: [gap(3, 5)], more: false });
    candles.interrupt();
    candles.interrupt();
    candles.add(live);
    candles.load({ candles: rows(50, 51), gaps: [], more: true });
    assert.deepEqual(times(candles), [50, 51, ...live.map((row) => row[0])]);
    assert.deepEqual([candles.gaps, candles.more], [[], true]);
  }
});

test("one that was away for less goes on, and one that was not away is never cut", () => {
  const candles = new Candles();
  candles.load({ candles: rows(10, 11), gaps: [], more: true });
  candles.interrupt();
  candles.load({ candles: rows(11, 12), gaps: [], more: true });
  candles.add(rows(13));
  candles.load({ candles: rows(20, 21), gaps: [], more: true });
  assert.deepEqual(times(candles), [10, 11, 12, 13, 20, 21]);
});

test("candles that come take their places out of the gaps, whichever", () => {
  const candles = new Candles();
  candles.load({ candles: rows(10, 20), gaps: [gap(11, 20)], more: false });
  candles.add(rows(11, 15, 19));
  assert.deepEqual(candles.gaps.map((one) => [one.begin, one.end, one.candles]), [[12, 15, 3], [16, 19, 3]]);
  candles.add(rows(12, 13, 14, 16, 17, 18));
  assert.deepEqual(candles.gaps, []);
});

test("what is trimmed can be loaded again", () => {
  const candles = new Candles();
  candles.load({ candles: rows(1, 2, 5, 6), gaps: [gap(3, 5)], more: false });
  candles.trim(1);
  assert.deepEqual([times(candles), candles.gaps, candles.more], [[6], [], true]);
});

test("a gap keeps a place for each of its candles, a long one two hundred", () => {
  const candles = new Candles();
  candles.load({ candles: rows(10, 14), gaps: [gap(11, 14), gap(20, 5020, "absent")], more: false });
  const blanks = candles.blanks();
  assert.deepEqual(blanks.slice(0, 3), [11, 12, 13].map((time) => ({ time, kind: "missing" })));
  assert.equal(blanks.length, 203);
  candles.add(rows(12));
  assert.deepEqual(candles.blanks().slice(0, 2).map((blank) => blank.time), [11, 13]);
});
