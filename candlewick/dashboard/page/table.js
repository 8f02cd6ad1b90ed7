// The candles as a table, the newest first: for screen readers, for copying, and where the chart's library is missing.

import { element, replace } from "./dom.js";
import { moment, price } from "./format.js";

/** @typedef {import("./candles.js").Candles} Candles */
/** @typedef {import("./format.js").Zone} Zone */

const NAMES = ["open", "high", "low", "close", "volume"];

/** Show the last so many candles, and the gaps among them in their places; whether that is all there is.
 * @param {HTMLElement} parent @param {Candles} candles @param {number} number @param {Zone} zone */
export function show(parent, candles, number, zone) {
  const rows = candles.rows.slice(-number);
  const from = rows[0]?.[0] ?? -Infinity;
  const lines = [
    ...rows.map((row) => ({ ms: row[0], line: candle(row, zone) })),
    ...candles.gaps.filter((gap) => gap.end > from).map((gap) => ({ ms: gap.begin, line: hole(gap, zone) })),
  ].sort((a, b) => b.ms - a.ms).map(({ line }) => line);
  const head = ["opens", ...NAMES].map((name) => element("th", { scope: "col" }, name));
  replace(parent, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines)));
  return rows.length === candles.rows.length && !candles.more;
}

/** @param {import("./candles.js").Row} row @param {Zone} zone */
function candle(row, zone) {
  return element("tr", {}, element("th", { scope: "row" }, moment(row[0], zone)),
    ...row.slice(1).map((value) => element("td", {}, price(value))));
}

/** @param {import("./candles.js").Gap} gap @param {Zone} zone */
function hole(gap, zone) {
  return element("tr", { class: `gap ${gap.kind}` }, element("th", { scope: "row" }, moment(gap.begin, zone)),
    element("td", { colspan: NAMES.length }, inWords(gap, zone)));
}

/** @param {import("./candles.js").Gap} gap @param {Zone} zone */
export function inWords(gap, zone) {
  const many = gap.candles === 1 ? "1 candle" : `${gap.candles.toLocaleString("en")} candles, until ${moment(gap.end, zone)}`;
  return `${gap.kind}: ${many}. ${gap.reason}`;
}
