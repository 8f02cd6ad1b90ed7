// The page: one stream of events, how the recording does, the list of series, and the view of the chosen one.

import { Chart, library } from "./chart.js";
import { byId, element, replace, say } from "./dom.js";
import { moment } from "./format.js";
import { judged, sentence } from "./health.js";
import * as overview from "./overview.js";
import { SeriesList, keyOf } from "./series_list.js";
import { SeriesView, question } from "./view.js";

/** @typedef {import("./format.js").Zone} Zone */

const ASK_AGAIN_MS = 2000;
const NO_ANSWER = "The dashboard does not answer; this page asks again and again.";

const [search, zoneChoice, themeChoice] = [/** @type {HTMLInputElement} */ (byId("search")),
  /** @type {HTMLSelectElement} */ (byId("zone")), /** @type {HTMLSelectElement} */ (byId("theme"))];

/** @type {import("./health.js").State | null} */ let state = null;
/** @type {import("./overview.js").Plots} */ let plots = {};
/** @type {import("./series_list.js").Listing | null} */ let listing = null;
/** @type {EventSource | null} */ let source = null;
let lastId = ""; // of the events of the chosen series
let lost = ""; // why nothing comes from the server
let wasMissing = 0;

/** @returns {Zone} */
const zone = () => (zoneChoice.value === "local" ? "local" : "utc");
const view = new SeriesView({ ask, zone });
const list = new SeriesList({ list: byId("series"), search, number: byId("count"), choose });

// ---- events ---------------------------------------------------------------------------------------------------------

/** Open the one stream of events, for the series that is chosen, behind the last event that there was of it.
 * A page that nobody sees has none: a browser opens six connections to a host, for all of its pages together. */
function listen() {
  source?.close();
  source = null;
  if (document.hidden) return;
  const address = `/api/events${view.key ? `?${question(view.key)}&after=${lastId}` : ""}`;
  const opened = new EventSource(address);
  source = opened;
  /** @param {string} name @param {(value: any) => void} handle */
  const on = (name, handle) => opened.addEventListener(name, (event) => {
    if (source !== opened) return;
    lastId = event.lastEventId || lastId;
    handle(JSON.parse(event.data));
  });
  on("state", (value) => { state = value; lost = ""; showState(); });
  on("plots", (value) => { plots = value; showState(); });
  on("series", () => { void loadListing(); });
  on("load", () => view.begin());
  on("candles", (rows) => view.take(rows));
  on("facts", (ranges) => { void view.learn(ranges); });
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
    if (answer.status === 400) view.key = "";
  } catch {
    lost = NO_ANSWER;
  }
  stop.abort();
  showState();
  setTimeout(() => { if (source === closed) listen(); }, ASK_AGAIN_MS);
}

/** A JSON answer; null where there is none, which whoever asked asks for again. @param {string} address @returns {Promise<any>} */
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
  const producers = Object.values(state.markets).flatMap((market) => market.producers);
  const missing = producers.reduce((sum, producer) => sum + producer.missing, 0);
  if (missing !== wasMissing) view.lookAgain();
  wasMissing = missing;
  document.title = how === "recording" ? "Candlewick" : `! ${how} – Candlewick`;
}

async function loadListing() {
  listing = await ask("/api/series");
  if (!listing) return;
  list.show(listing);
  if (!view.key && listing.series.length) choose(keyOf(listing.series[0]));
  else view.showDays(listing);
}

// ---- choices --------------------------------------------------------------------------------------------------------

/** Show a series. @param {string} key */
function choose(key) {
  if (key === view.key) return;
  lastId = "";
  list.mark(key);
  history.replaceState(null, "", `#${key}`);
  view.choose(key);
  view.showDays(listing);
  listen();
}

/** The series that the page's address names. */
function named() {
  try {
    const name = decodeURIComponent(location.hash.slice(1));
    return /^\w+\/[^/]+\/\w+$/.test(name) ? name : "";
  } catch { // no address of ours
    return "";
  }
}

/** A choice that the browser keeps. @param {HTMLSelectElement} choice @param {() => void} changed */
function remembered(choice, changed) {
  const before = localStorage.getItem(choice.id);
  if (before && [...choice.options].some((option) => option.value === before)) choice.value = before;
  choice.addEventListener("change", () => { localStorage.setItem(choice.id, choice.value); changed(); });
}

function colour() {
  document.documentElement.dataset.theme = themeChoice.value;
  view.chart?.colour();
  view.show();
}

remembered(zoneChoice, () => {
  if (view.chart) view.chart.zone = zone();
  showState();
  view.show();
});
remembered(themeChoice, colour);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) { search.focus(); event.preventDefault(); }
});
document.addEventListener("visibilitychange", listen);
window.addEventListener("hashchange", () => { if (named()) choose(named()); });

document.documentElement.dataset.theme = themeChoice.value;
const charts = await library();
if (charts) {
  view.chart = new Chart(charts, byId("chart"), { older: () => { void view.older(); }, look: (ms) => view.look(ms) });
  view.chart.zone = zone();
} else {
  say(byId("build"), "The chart's library was not built in, so candles are shown as a table: see docs/dashboard.md. ");
  byId("as-chart").setAttribute("disabled", "");
  view.showAs("table");
}
if (named()) choose(named());
else listen();
