// How the recording does, in one sentence. Pure.

import { count, counted, duration, moment } from "./format.js";

/** @typedef {import("./format.js").Zone} Zone */
/** @typedef {{process: string, series: number, source?: string, troubles?: string[], share: string, connections: number,
 *   connections_wanted: number, candles_per_minute: number, missing: number, due: number, repaired: number, absent: number,
 *   weight_used: number, weight_limit: number, rest_status: number | null, rest_closed_seconds: number, given_way?: string[],
 *   last_candle_end: string | null}} Producer */
/** @typedef {{entries: number, unread: number, pending: number, dead_letters: number,
 *   oldest_unstored_seconds: number | null}} Stream */
/** @typedef {{groups: number, producers: Producer[], stream: Stream}} Market */
/** @typedef {{process: string, written_per_minute: number, waiting: number, flush_seconds?: number}} Writer */
/** @typedef {{folder?: string, series: number, bytes: number, bytes_a_day: number, is_measured: boolean,
 *   free: number | null}} Store nothing but `free` before the first look */
/** @typedef {{health: {state: string, reasons: string[]}, broker: {address?: string, error?: string | null},
 *   markets: Record<string, Market>, writers: Writer[], store?: Store, as_of_ms: number}} State */

/** @type {Record<string, string>} */
const WORDS = { recording: "Recording", degraded: "Not quite well", dead: "Not recording" };

/** How it does: a connection that is gone shows at once, before the processes themselves call it a trouble.
 * @param {State} state */
export function judged(state) {
  const { state: how, reasons } = state.health;
  const lost = how === "recording" ? lostConnections(state) : [];
  return lost.length ? { how: "degraded", reasons: lost } : { how, reasons };
}

/** @param {State} state */
function lostConnections(state) {
  return Object.entries(state.markets).flatMap(([name, { producers }]) => {
    const [has, wants] = [total(producers, "connections"), total(producers, "connections_wanted")];
    return has < wants ? [`${name}: ${count(has)} of ${counted(wants, "connection")} to the exchange`] : [];
  });
}

/** @param {Producer[]} producers @param {"connections" | "connections_wanted" | "series"} name */
function total(producers, name) { return producers.reduce((sum, producer) => sum + producer[name], 0); }

/** The sentence at the top. @param {State} state @param {Zone} zone */
export function sentence(state, zone) {
  const { how, reasons } = judged(state);
  const word = WORDS[how] ?? how;
  if (reasons.length === 1) return `${word}: ${reasons[0].replace(/\.+$/, "")}.`;
  if (reasons.length) return `${word}, for ${count(reasons.length)} reasons:`;
  const producers = Object.values(state.markets).flatMap((market) => market.producers);
  const series = total(producers, "series");
  const ends = producers.map((producer) => producer.last_candle_end ?? "").sort();
  const newest = ends[ends.length - 1];
  const what = `${word} ${counted(series, "series", "series")}${isSimulated(state) ? " of a simulated exchange" : ""}`;
  return newest ? `${what}; the newest candle closed at ${moment(newest, zone)}.` : `${what}; no candle has closed yet.`;
}

/** Whether any market comes from a simulator. @param {State} state */
export function isSimulated(state) {
  return Object.values(state.markets).some((market) => market.producers.some((producer) => producer.source?.startsWith("simulated ")));
}

/** How long the room on the disk lasts, in words. @param {Store} store */
export function room(store) {
  if (store.free === null) return "";
  if (!store.bytes_a_day) return "";
  const days = store.free / store.bytes_a_day;
  return days > 3650 ? "for more than ten years" : `for ${duration(days * 86400)}`;
}
