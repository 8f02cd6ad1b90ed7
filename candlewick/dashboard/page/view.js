// The chosen series: its candles are loaded, taken in as they close, and shown as chart, table, days and gaps.

import { Candles } from "./candles.js";
import { byId, element, replace, say } from "./dom.js";
import { date, moment, price } from "./format.js";
import { keyOf } from "./series_list.js";
import { MEANING, days, inWords } from "./strip.js";
import * as table from "./table.js";

/** @typedef {import("./candles.js").Row} Row */
/** @typedef {import("./chart.js").Chart} Chart */
/** @typedef {import("./format.js").Zone} Zone */
/** @typedef {import("./series_list.js").Listing} Listing */

const PIECE = 1000; // candles asked for at once
const IN_TABLE = 100; // rows shown at first, and more at each wish
const SAID_EVERY_MS = 10000; // a reader is told of a new candle so often at most
const SETTLE_MS = 500; // several reasons to look again are one
const REST_MS = 5000; // and the next look comes so much later
const ASK_AGAIN_MS = 2000;
const MOST_ROWS = 20000; // kept while the newest are in view
const MINUTE_MS = 60000;

/** A series as the server is asked for it. @param {string} key */
export function question(key) {
  const [market, symbol, interval] = key.split("/");
  return new URLSearchParams({ market, symbol, interval }).toString();
}

export class SeriesView {
  /** @param {{ask: (address: string) => Promise<any>, zone: () => Zone}} page where a JSON answer comes from, null
   * where none does; and in which zone times are told */
  constructor({ ask, zone }) {
    this.ask = ask;
    this.zone = zone;
    this.key = "";
    this.candles = new Candles();
    /** @type {Chart | null} */ this.chart = null;
    this.inTable = IN_TABLE;
    this.saidAt = this.settling = this.settledAt = 0;
    byId("older").addEventListener("click", () => this.#moreRows());
    byId("as-chart").addEventListener("click", () => this.showAs("chart"));
    byId("as-table").addEventListener("click", () => this.showAs("table"));
    byId("chart").addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show another series. @param {string} key */
  choose(key) {
    this.key = key;
    this.candles = new Candles();
    this.inTable = IN_TABLE;
    const [market, symbol, interval] = key.split("/");
    replace(byId("name"), symbol, " ", element("span", { class: "quiet" }, `${interval} ${market}`));
    if (this.chart) this.chart.cursor = -1;
    this.show();
  }

  /** Load the newest piece, or the one before a time. What is published later comes as an event; what comes both ways
   * is one candle. Where no answer comes, or one without what is published, the newest piece is asked for again.
   * @param {number} [before] */
  async load(before) {
    const mine = this.candles;
    const upTo = before === undefined ? "" : `&before=${before}`;
    const piece = await this.ask(`/api/candles?${question(this.key)}&count=${PIECE}${upTo}`);
    if (mine !== this.candles) return;
    if (!piece) return this.#askAgain(mine);
    if (piece.stored_only) this.#askAgain(mine);
    const isFirst = !mine.rows.length;
    mine.load(piece, before);
    this.show();
    if (isFirst) this.chart?.toNewest();
  }

  /** Load the newest piece a moment later, once, however many answers have not come. @param {Candles} mine */
  #askAgain(mine) {
    if (mine.isWaiting) return;
    mine.isWaiting = true;
    setTimeout(() => { mine.isWaiting = false; if (mine === this.candles) void this.load(); }, ASK_AGAIN_MS);
  }

  /** The server has taken a position anew: what was published until then is in what is loaded now. */
  begin() {
    this.candles.interrupt();
    void this.load();
  }

  /** Load the piece before the oldest candle. */
  async older() {
    const mine = this.candles;
    const before = mine.first;
    if (mine.isLoading || !mine.more || before === undefined) return;
    mine.isLoading = true;
    const piece = await this.ask(`/api/candles?${question(this.key)}&count=${PIECE}&before=${before}`);
    mine.isLoading = false;
    if (!piece || mine !== this.candles || mine.first !== before) return;
    mine.load(piece, before);
    this.show();
  }

  /** Something is known now that the page cannot tell by itself: gaps and their reasons, of the newest piece. */
  lookAgain() {
    if (this.settling || !this.key) return;
    const wait = Math.max(SETTLE_MS, this.settledAt + REST_MS - Date.now());
    this.settling = window.setTimeout(() => { this.settling = 0; this.settledAt = Date.now(); void this.load(); }, wait);
  }

  /** Facts that are true of ranges of time: those among what is loaded are asked for. @param {[number, number][]} ranges */
  async learn(ranges) {
    this.lookAgain();
    const { rows, first } = this.candles;
    const newest = rows[Math.max(0, rows.length - PIECE)]?.[0] ?? Infinity;
    for (const [begin, end] of ranges) if (begin < newest && end > (first ?? Infinity)) await this.load(end + 1);
  }

  /** New candles. @param {Row[]} rows */
  take(rows) {
    const { candles, chart } = this;
    const before = candles.last;
    const fillsGap = candles.gaps.some((gap) => rows.some((row) => row[0] >= gap.begin && row[0] < gap.end));
    const newer = candles.add(rows);
    const leavesGap = before && newer && newer[0][0] > before[0] + this.#typicalMs() * 1.5;
    const isTooMuch = candles.rows.length > MOST_ROWS && (!chart || chart.isAtNewest);
    if (isTooMuch) candles.trim(MOST_ROWS / 2);
    if (!isTooMuch && newer && chart && !candles.gaps.some((gap) => gap.end > newer[0][0])) {
      newer.forEach((row) => chart.add(row));
      this.#showText();
    } else this.show();
    if (leavesGap || fillsGap || !newer) this.lookAgain();
    if (Date.now() - this.saidAt < SAID_EVERY_MS) return;
    this.saidAt = Date.now();
    say(byId("said"), `New candle of ${this.key.split("/")[1]}: ${this.#spoken(candles.last)}`);
  }

  /** The shortest time between two of the newest candles; infinite where there is but one. */
  #typicalMs() {
    const rows = this.candles.rows.slice(-50);
    return Math.min(...rows.slice(1).map((row, at) => row[0] - rows[at][0]));
  }

  /** @param {Row} row */
  #spoken(row) {
    const [open, high, low, close, volume] = row.slice(1).map(price);
    return `opened ${moment(row[0], this.zone())}, open ${open}, high ${high}, low ${low}, close ${close}, volume ${volume}`;
  }

  // ---- what is shown ------------------------------------------------------------------------------------------------

  /** Show all that is loaded. */
  show() {
    this.chart?.show(this.candles, this.candles.rows.length > 1 ? this.#typicalMs() : MINUTE_MS);
    this.#showText();
    this.#showGaps();
  }

  #showText() {
    this.look(this.chart?.marked?.[0] ?? null);
    this.#showTable();
  }

  /** @param {"chart" | "table"} which */
  showAs(which) {
    byId("as-chart").setAttribute("aria-pressed", String(which === "chart"));
    byId("as-table").setAttribute("aria-pressed", String(which === "table"));
    byId("chart").hidden = byId("keys").hidden = which !== "chart";
    byId("as-rows").hidden = which !== "table";
    this.#showTable();
  }

  #showTable() {
    if (byId("as-rows").hidden) return;
    const isAll = table.show(byId("table"), this.candles, this.inTable, this.zone());
    byId("older").toggleAttribute("disabled", isAll);
  }

  /** Say what stands at a time, or of the newest candle. @param {number | null} ms */
  look(ms) {
    const gap = ms === null ? undefined : this.candles.gapAt(ms);
    const row = ms === null ? this.candles.last : this.candles.rows.find((one) => one[0] === ms);
    if (gap && !row) return say(byId("legend"), table.inWords(gap, this.zone()));
    if (!row) return say(byId("legend"), this.key ? "No candle yet." : " ");
    const values = row.slice(1).map((value, at) => `${"OHLCV"[at]} ${price(value)}`);
    say(byId("legend"), [moment(row[0], this.zone()), ...values].join("  "));
  }

  /** The last days of the series, large. @param {Listing | null} listing */
  showDays(listing) {
    const series = listing?.series.find((one) => keyOf(one) === this.key);
    if (!listing || !series) return replace(byId("days"));
    const strip = series.strip ?? "";
    const cells = days(strip, listing.first_day).map(({ ms, letter }) => {
      const words = `${date(ms, "utc")}: ${MEANING[letter]}`;
      const name = `day ${letter === "." ? "none" : letter}`;
      return element("li", { class: name, title: words }, element("span", { class: "hidden" }, words));
    });
    const state = series.state === "recorded" ? "" : `; ${series.state ?? "being looked at"}`;
    replace(byId("days"), element("h3", {}, "Last days (UTC)"), element("ol", { class: "days" }, ...cells),
      element("p", { class: "quiet" }, `${inWords(strip)}${state}.`));
  }

  #showGaps() {
    const newest = this.candles.gaps.slice(-20).reverse();
    if (!newest.length) return replace(byId("gaps"));
    const zone = this.zone();
    const lines = newest.map((gap) => element("li", { class: gap.kind }, `${moment(gap.begin, zone)} ${table.inWords(gap, zone)}.`));
    replace(byId("gaps"), element("h3", {}, "Not there, among the candles that are loaded"), element("ul", {}, ...lines));
  }

  // ---- what people do -----------------------------------------------------------------------------------------------

  #moreRows() {
    this.inTable += IN_TABLE;
    if (this.inTable > this.candles.rows.length) void this.older().then(() => this.#showTable());
    else this.#showTable();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const row = this.chart?.key(event);
    if (!row) return;
    event.preventDefault();
    this.look(row[0]);
    say(byId("said"), this.#spoken(row));
  }
}
