// The page: one stream of events, one chosen series, and what is shown of both.

import { Candles } from "./candles.js";
import { Chart, library } from "./chart.js";
import { byId, element, replace, say } from "./dom.js";
import { date, moment, price } from "./format.js";
import { judged, sentence } from "./health.js";
import * as overview from "./overview.js";
import { SeriesList, keyOf } from "./series_list.js";
import { MEANING, days, inWords } from "./strip.js";
import * as table from "./table.js";

/** @typedef {import("./candles.js").Row} Row */
/** @typedef {import("./format.js").Zone} Zone */

const PIECE = 1000; // candles asked for at once
const IN_TABLE = 100; // rows shown at first, and more at each wish
const SAID_EVERY_MS = 10000; // a reader is told of a new candle so often at most
const SETTLE_MS = 500; // several reasons to look again are one
const REST_MS = 5000; // and the next look comes so much later
const ASK_AGAIN_MS = 2000;
const MOST_ROWS = 20000; // kept while the newest are in view
const NO_ANSWER = "The dashboard does not answer; this page asks again and again.";

const [search, zoneChoice, themeChoice] = [/** @type {HTMLInputElement} */ (byId("search")),
  /** @type {HTMLSelectElement} */ (byId("zone")), /** @type {HTMLSelectElement} */ (byId("theme"))];
const list = new SeriesList({ list: byId("series"), search, number: byId("count"), choose });

/** @type {import("./health.js").State | null} */ let state = null;
/** @type {import("./overview.js").Plots} */ let plots = {};
/** @type {import("./series_list.js").Listing | null} */ let listing = null;
/** @type {EventSource | null} */ let source = null;
/** @type {Chart | null} */ let chart = null;
let candles = new Candles();
let chosen = "";
let lastId = ""; // of the events of the chosen series
let lost = ""; // why nothing comes from the server
let inTable = IN_TABLE;
let saidAt = 0;
let settling = 0;
let settledAt = 0;
let wasMissing = 0;

/** @returns {Zone} */
const zone = () => (zoneChoice.value === "local" ? "local" : "utc");

// ---- events ---------------------------------------------------------------------------------------------------------

/** Open the one stream of events, for the series that is chosen, behind the last event that there was of it.
 * A page that nobody sees has none: a browser opens six connections to a host, for all of its pages together. */
function listen() {
  source?.close();
  source = null;
  if (document.hidden) return;
  const address = `/api/events${chosen ? `?${question(chosen)}&after=${lastId}` : ""}`;
  const opened = new EventSource(address);
  source = opened;
  /** @param {string} name @param {(value: any) => void} handle */
  const on = (name, handle) => opened.addEventListener(name, (event) => {
    if (source !== opened) return;
    lastId = event.lastEventId;
    handle(JSON.parse(event.data));
  });
  on("state", (value) => { state = value; lost = ""; showState(); });
  on("plots", (value) => { plots = value; showState(); });
  on("series", () => { void loadListing(); });
  on("load", () => { candles.interrupt(); void load(); });
  on("candles", take);
  on("facts", (ranges) => { void learn(ranges); });
  opened.addEventListener("error", () => {
    if (source !== opened) return;
    lost ||= NO_ANSWER;
    showState();
    if (opened.readyState === EventSource.CLOSED) void refused(opened, address);
  });
}

/** The server would not open a stream: say why, and ask again without a series that it does not know.
 * @param {EventSource} closed @param {string} address */
async function refused(closed, address) {
  const stop = new AbortController();
  try {
    const answer = await fetch(address, { signal: stop.signal });
    if (!answer.ok) lost = `The dashboard refuses: ${(await answer.text()).trim()}.`;
    if (answer.status === 400) chosen = "";
  } catch {
    lost = NO_ANSWER;
  }
  stop.abort();
  showState();
  setTimeout(() => { if (source === closed) listen(); }, ASK_AGAIN_MS);
}

function showState() {
  const health = byId("health");
  if (lost) {
    health.dataset.state = "lost";
    document.title = "! no answer – Candlewick";
    const since = state ? ` What it shows is of ${moment(state.as_of_ms, zone())}.` : "";
    say(byId("sentence"), `${lost}${since}`);
    return;
  }
  if (!state) return;
  const { how, reasons } = judged(state);
  health.dataset.state = how;
  say(byId("sentence"), sentence(state, zone()));
  replace(byId("reasons"), ...(reasons.length > 1 ? reasons.map((reason) => element("li", {}, reason)) : []));
  overview.show(byId("overview"), state, plots, zone());
  const missing = Object.values(state.markets).flatMap((market) => market.producers).reduce((sum, one) => sum + one.missing, 0);
  if (missing !== wasMissing) lookAgain();
  wasMissing = missing;
  document.title = how === "recording" ? "Candlewick" : `! ${how} – Candlewick`;
}

async function loadListing() {
  listing = await ask("/api/series");
  if (!listing) return;
  list.show(listing);
  if (!chosen && listing.series.length) choose(keyOf(listing.series[0]));
  else showDays();
}

// ---- the chosen series ----------------------------------------------------------------------------------------------

/** @param {string} key */
function question(key) {
  const [market, symbol, interval] = key.split("/");
  return new URLSearchParams({ market, symbol, interval }).toString();
}

/** @param {string} key */
function choose(key) {
  if (key === chosen) return;
  chosen = key;
  candles = new Candles();
  lastId = "";
  inTable = IN_TABLE;
  list.mark(key);
  history.replaceState(null, "", `#${key}`);
  const [market, symbol, interval] = key.split("/");
  replace(byId("name"), symbol, " ", element("span", { class: "quiet" }, `${interval} ${market}`));
  showCandles();
  showDays();
  listen();
}

/** Load the newest piece, or the one before a time. What is published later comes as an event; what comes both ways is
 * one candle. A piece that does not come is asked for again. @param {number} [before] */
async function load(before) {
  const mine = candles;
  const piece = await ask(`/api/candles?${question(chosen)}&count=${PIECE}${before === undefined ? "" : `&before=${before}`}`);
  if (mine !== candles) return;
  if (!piece) { setTimeout(() => { if (mine === candles) void load(before); }, ASK_AGAIN_MS); return; }
  const isFirst = !candles.rows.length;
  candles.load(piece, before);
  showCandles();
  if (isFirst) chart?.toNewest();
}

/** Load the piece before the oldest candle. */
async function older() {
  const mine = candles;
  const before = mine.first;
  if (mine.isLoading || !mine.more || before === undefined) return;
  mine.isLoading = true;
  const piece = await ask(`/api/candles?${question(chosen)}&count=${PIECE}&before=${before}`);
  mine.isLoading = false;
  if (!piece || mine !== candles || mine.first !== before) return;
  candles.load(piece, before);
  showCandles();
}

/** Something is known now that the page cannot tell by itself: gaps and their reasons, of the newest piece. */
function lookAgain() {
  if (settling || !chosen) return;
  const wait = Math.max(SETTLE_MS, settledAt + REST_MS - Date.now());
  settling = window.setTimeout(() => { settling = 0; settledAt = Date.now(); void load(); }, wait);
}

/** Facts that are true of ranges of time: those among what is loaded are asked for. @param {[number, number][]} ranges */
async function learn(ranges) {
  lookAgain();
  const newest = candles.rows[Math.max(0, candles.rows.length - PIECE)]?.[0] ?? Infinity;
  for (const [begin, end] of ranges) if (begin < newest && end > (candles.first ?? Infinity)) await load(end + 1);
}

/** New candles. @param {Row[]} rows */
function take(rows) {
  const before = candles.last;
  const fillsGap = candles.gaps.some((gap) => rows.some((row) => row[0] >= gap.begin && row[0] < gap.end));
  const newer = candles.add(rows);
  const leavesGap = before && newer && newer[0][0] > before[0] + typicalMs() * 1.5;
  if (candles.rows.length > MOST_ROWS && (!chart || chart.isAtNewest)) {
    candles.trim(MOST_ROWS / 2);
    showCandles();
  } else if (newer && chart && !candles.gaps.some((gap) => gap.end > newer[0][0])) newer.forEach((row) => chart?.add(row));
  else showCandles();
  if (leavesGap || fillsGap || !newer) lookAgain();
  showLegend(chart?.marked?.[0] ?? null);
  showTable();
  const now = Date.now();
  if (now - saidAt >= SAID_EVERY_MS) {
    saidAt = now;
    say(byId("said"), `New candle of ${chosen.split("/")[1]}: ${spoken(candles.last)}`);
  }
}

/** The shortest time between two of the newest candles. */
function typicalMs() {
  const rows = candles.rows.slice(-50);
  return Math.min(...rows.slice(1).map((row, at) => row[0] - rows[at][0])); // without any it is infinite
}

/** @param {Row} row */
function spoken(row) {
  return `opened ${moment(row[0], zone())}, open ${price(row[1])}, high ${price(row[2])}, low ${price(row[3])}, close ${price(row[4])}, volume ${price(row[5])}`;
}

function showCandles() {
  chart?.show(candles, candles.rows.length > 1 ? typicalMs() : 60000);
  showLegend(chart?.marked?.[0] ?? null);
  showTable();
  showGaps();
}

function showTable() {
  if (byId("as-rows").hidden) return;
  const isAll = table.show(byId("table"), candles, inTable, zone());
  byId("older").toggleAttribute("disabled", isAll);
}

/** What stands at a time, or the newest candle. @param {number | null} ms */
function showLegend(ms) {
  const gap = ms === null ? undefined : candles.gapAt(ms);
  const row = ms === null ? candles.last : candles.rows.find((one) => one[0] === ms);
  if (gap && !row) say(byId("legend"), table.inWords(gap, zone()));
  else if (row) say(byId("legend"), `${moment(row[0], zone())}  O ${price(row[1])}  H ${price(row[2])}  L ${price(row[3])}  C ${price(row[4])}  V ${price(row[5])}`);
  else say(byId("legend"), chosen ? "No candle yet." : " ");
}

/** The last days of the chosen series, large. */
function showDays() {
  const series = listing?.series.find((one) => keyOf(one) === chosen);
  if (!listing || !series) return replace(byId("days"));
  const strip = series.strip ?? "";
  const cells = days(strip, listing.first_day).map(({ ms, letter }) => {
    const words = `${date(ms, "utc")}: ${MEANING[letter]}`;
    return element("li", { class: `day ${letter === "." ? "none" : letter}`, title: words }, element("span", { class: "hidden" }, words));
  });
  const known = `${inWords(strip)}${series.state === "recorded" ? "" : `; ${series.state ?? "being looked at"}`}`;
  replace(byId("days"), element("h3", {}, "Last days (UTC)"), element("ol", { class: "days" }, ...cells), element("p", { class: "quiet" }, `${known}.`));
}

function showGaps() {
  const newest = candles.gaps.slice(-20).reverse();
  if (!newest.length) return replace(byId("gaps"));
  const lines = newest.map((gap) => element("li", { class: gap.kind }, `${moment(gap.begin, zone())} ${table.inWords(gap, zone())}.`));
  replace(byId("gaps"), element("h3", {}, "Not there, among the candles that are loaded"), element("ul", {}, ...lines));
}

// ---- the rest of the page -------------------------------------------------------------------------------------------

/** A JSON answer; null where there is none, which the next event mends. @param {string} address @returns {Promise<any>} */
async function ask(address) {
  try {
    const answer = await fetch(address);
    if (answer.ok) return await answer.json();
    say(byId("legend"), await answer.text());
  } catch {
    lost ||= NO_ANSWER;
    showState();
  }
  return null;
}

/** @param {"chart" | "table"} which */
function showAs(which) {
  byId("as-chart").setAttribute("aria-pressed", String(which === "chart"));
  byId("as-table").setAttribute("aria-pressed", String(which === "table"));
  byId("chart").hidden = byId("keys").hidden = which !== "chart";
  byId("as-rows").hidden = which !== "table";
  showTable();
}

/** @param {HTMLSelectElement} choice @param {() => void} changed */
function remembered(choice, changed) {
  const before = localStorage.getItem(choice.id);
  if (before && [...choice.options].some((option) => option.value === before)) choice.value = before;
  choice.addEventListener("change", () => { localStorage.setItem(choice.id, choice.value); changed(); });
}

function colour() {
  document.documentElement.dataset.theme = themeChoice.value;
  chart?.colour();
  if (chart) showCandles();
}

remembered(zoneChoice, () => {
  if (chart) chart.zone = zone();
  showState();
  showCandles();
});
remembered(themeChoice, colour);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
byId("as-chart").addEventListener("click", () => showAs("chart"));
byId("as-table").addEventListener("click", () => showAs("table"));
byId("older").addEventListener("click", () => {
  inTable += IN_TABLE;
  if (inTable > candles.rows.length) void older().then(showTable);
  else showTable();
});
byId("chart").addEventListener("keydown", (event) => {
  const row = chart?.key(event);
  if (!row) return;
  event.preventDefault();
  showLegend(row[0]);
  say(byId("said"), spoken(row));
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) { search.focus(); event.preventDefault(); }
});
document.addEventListener("visibilitychange", listen);
window.addEventListener("hashchange", () => { if (named()) choose(named()); });

/** The series that the page's address names. */
function named() {
  try {
    const name = decodeURIComponent(location.hash.slice(1));
    return /^\w+\/[^/]+\/\w+$/.test(name) ? name : "";
  } catch { // no address of ours
    return "";
  }
}

const charts = await library();
document.documentElement.dataset.theme = themeChoice.value;
if (charts) {
  chart = new Chart(charts, byId("chart"), { older: () => { void older(); }, look: showLegend });
  chart.zone = zone();
} else {
  say(byId("build"), "The chart's library was not built in, so candles are shown as a table: see docs/dashboard.md. ");
  byId("as-chart").setAttribute("disabled", "");
  showAs("table");
}
if (named()) choose(named());
else listen();
