// The cards: one a market with its figures and the last hour, one for writers and store.

import { element, replace } from "./dom.js";
import { count, counted, duration, moment, size } from "./format.js";
import { room } from "./health.js";
import { plot } from "./plot.js";

/** @typedef {import("./health.js").State} State */
/** @typedef {import("./health.js").Market} Market */
/** @typedef {import("./format.js").Zone} Zone */
/** @typedef {import("./plot.js").Point} Point */
/** @typedef {Record<string, {broker?: Point[], disk?: Point[]}>} Plots */

/** Draw all cards. @param {HTMLElement} parent @param {State} state @param {Plots} plots @param {Zone} zone */
export function show(parent, state, plots, zone) {
  const markets = Object.entries(state.markets);
  const cards = markets.filter(([, market]) => market.groups || market.producers.length)
    .map(([name, market]) => marketCard(name, market, plots[name] ?? {}, zone));
  const idle = markets.filter(([, market]) => !market.groups && !market.producers.length).map(([name]) => name);
  replace(parent, ...cards, storeCard(state, idle));
}

/** @param {string} name @param {Market} market @param {{broker?: Point[], disk?: Point[]}} plots @param {Zone} zone */
function marketCard(name, market, plots, zone) {
  const { producers, stream } = market;
  /** @param {(producer: import("./health.js").Producer) => number} value */
  const sum = (value) => producers.reduce((total, producer) => total + value(producer), 0);
  const sources = [...new Set(producers.map((producer) => producer.source ?? ""))].filter((source) => source && source !== "binance");
  const hosts = new Set(producers.map((producer) => producer.process.replace(/-\d+$/, "")));
  const wanted = sum((producer) => producer.connections_wanted);
  const connected = sum((producer) => producer.connections);
  const closed = producers.find((producer) => producer.rest_status);
  const ends = producers.map((producer) => producer.last_candle_end ?? "").sort();
  const waiting = stream.unread + stream.pending;
  const one = producers[0];
  return element("article", { class: "card", "aria-label": name },
    element("h2", {}, name, ...sources.map((source) => element("span", { class: "badge", title: source }, source.startsWith("simulated ") ? "simulated" : source))),
    producers.length
      ? list(
        ["series", count(sum((producer) => producer.series))],
        ["connected", `${count(connected)} of ${count(wanted)}`, connected < wanted],
        [hosts.size === producers.length ? "hosts" : `processes, on ${counted(hosts.size, "host")}`, count(producers.length)],
        ["a minute", count(sum((producer) => producer.candles_per_minute))],
        ["missing", count(sum((producer) => producer.missing)), sum((producer) => producer.missing) > 0],
        ["repaired", count(sum((producer) => producer.repaired))],
        ["absent", count(sum((producer) => producer.absent))],
        ["dead letters", count(stream.dead_letters), stream.dead_letters > 0],
        ["newest candle", ends[ends.length - 1] ? moment(ends[ends.length - 1], zone) : "none yet"],
        ["to be stored", stream.oldest_unstored_seconds === null ? count(waiting) : `${count(waiting)}, oldest ${duration(stream.oldest_unstored_seconds)}`],
        ["REST weight", closed ? `closed (${closed.rest_status}) for ${duration(closed.rest_closed_seconds)}` : one ? `${count(one.weight_used)} of ${count(one.weight_limit)}` : "–", Boolean(closed)],
      )
      : element("p", { class: "trouble" }, "no producer lives"),
    element("div", { class: "plots" }, figure("close to broker", plots.broker), figure("close to disk", plots.disk)),
  );
}

/** @param {string} what @param {Point[] | undefined} points */
function figure(what, points = []) {
  const known = points.filter((point) => point[1] !== null);
  const newest = known[known.length - 1];
  const words = newest ? `${duration(newest[1])}, p99 ${duration(newest[2])}` : "nothing measured yet";
  return element("figure", { title: `${what} in the last hour: the median, and what 99 of 100 stay below` },
    element("figcaption", {}, what, element("br"), words), plot(points, `${what} in the last hour: median ${words}`));
}

/** @param {State} state @param {string[]} idle */
function storeCard(state, idle) {
  const { store, writers } = state;
  /** @type {Row[]} */
  const rows = [["writers", count(state.broker.error ? null : writers.length), !writers.length]];
  const stored = count(state.broker.error ? null : writers.reduce((sum, writer) => sum + writer.written_per_minute, 0));
  if (store?.folder) {
    rows.push(["series", count(store.series)], ["size", size(store.bytes)], ["free", size(store.free)], ["stored a minute", stored]);
    rows.push(["grows a day", store.bytes_a_day ? `${store.is_measured ? "" : "about "}${size(store.bytes_a_day)}` : "not known yet"]);
    if (store.free !== null) rows.push(["free room lasts", room(store) || "–"]);
    rows.push(["folder", store.folder]);
  } else rows.push(["stored a minute", stored]);
  rows.push(["broker", state.broker.error ? "does not answer" : state.broker.address ?? "–", Boolean(state.broker.error)]);
  if (idle.length) rows.push(["not recorded", idle.join(", ")]);
  return element("article", { class: "card", "aria-label": "Store" }, element("h2", {}, "store"), list(...rows));
}

/** @typedef {[string, string, boolean?]} Row a name, a value, and whether that is a trouble */

/** @param {...Row} rows */
function list(...rows) {
  return element("dl", {}, ...rows.map(([name, value, isTrouble]) => element("div", { class: `${name.length + value.length > 15 ? "wide" : ""} ${isTrouble ? "trouble" : ""}` },
    element("dt", {}, name), element("dd", { title: value.length > 22 ? value : null }, value))));
}
