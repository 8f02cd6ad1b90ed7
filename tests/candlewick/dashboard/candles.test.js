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
  assert.equal(candles.add(rows(3, 4)), true);
  assert.equal(candles.add(rows(5, 5)), true);
  assert.equal(candles.add(rows(4)), false);
  assert.equal(candles.add(rows(7, 2)), false);
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
  const candles = new Candles();
  candles.load({ candles: rows(10, 11), gaps: [gap(3, 5)], more: false });
  candles.load({ candles: rows(50, 51), gaps: [], more: true });
  assert.deepEqual(times(candles), [50, 51]);
  assert.equal(candles.more, true);
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
