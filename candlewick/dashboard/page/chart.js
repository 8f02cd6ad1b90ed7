// The chart: candles and volume by lightweight-charts, which is fetched when the project is built, never kept in it.
// The library is given times in seconds; a gap is a free place, shaded by its kind.

import { date, digits, price, tick, time } from "./format.js";

/** @typedef {typeof import("lightweight-charts")} Library */
/** @typedef {import("./candles.js").Row} Row */
/** @typedef {import("./candles.js").Candles} Candles */
/** @typedef {import("./format.js").Zone} Zone */
/** @typedef {import("lightweight-charts").UTCTimestamp} Seconds */

const LIBRARY = new URL("./vendor/lightweight-charts.js", import.meta.url).href;
const NEAR_THE_BEGINNING = 50; // candles: with fewer to the left of what is seen, older ones are asked for
const CLOSEST = 10; // candles in view
const MAX_DIGITS = 12;
const DAY_MS = 86400000;

/** The library; null where it was not built in. @returns {Promise<Library | null>} */
export async function library() {
  try {
    return await import(LIBRARY);
  } catch {
    return null;
  }
}

/** @param {number} ms */
const seconds = (ms) => /** @type {Seconds} */ (ms / 1000);

export class Chart {
  /** @param {Library} charts @param {HTMLElement} box @param {{older: () => void, look: (ms: number | null) => void}} page */
  constructor(charts, box, { older, look }) {
    /** @type {Zone} */ this.zone = "utc";
    this.hasDays = false;
    this.box = box;
    this.cursor = -1;
    this.digits = 0;
    /** @type {Row[]} */ this.rows = [];
    this.chart = charts.createChart(box, {
      autoSize: true,
      layout: { attributionLogo: false, background: { type: charts.ColorType.Solid, color: "transparent" }, fontFamily: "inherit" },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4, tickMarkFormatter: (/** @type {any} */ at, /** @type {number} */ level) => tick(at * 1000, level, this.#shownZone) },
      localization: { locale: "en", priceFormatter: price, timeFormatter: (/** @type {any} */ at) => `${date(at * 1000, this.#shownZone)} ${time(at * 1000, this.#shownZone)}` },
      crosshair: { mode: charts.CrosshairMode.Normal },
    });
    this.gaps = this.chart.addSeries(charts.HistogramSeries, { priceScaleId: "gaps", priceLineVisible: false, lastValueVisible: false });
    this.volume = this.chart.addSeries(charts.HistogramSeries, { priceScaleId: "volume", priceLineVisible: false, lastValueVisible: false, priceFormat: { type: "volume" } });
    this.candles = this.chart.addSeries(charts.CandlestickSeries, {});
    this.chart.priceScale("gaps").applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.8, bottom: 0 }, visible: false });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.06, bottom: 0.24 } });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => { if (range && range.from < NEAR_THE_BEGINNING) older(); });
    this.chart.subscribeCrosshairMove((moved) => look(typeof moved.time === "number" ? moved.time * 1000 : null));
    this.colour();
  }

  /** Take the colours of the page's style. */
  colour() {
    const style = getComputedStyle(this.box);
    /** @param {string} name */
    const colour = (name) => style.getPropertyValue(name).trim();
    const [up, down, line, text] = [colour("--up"), colour("--down"), colour("--line"), colour("--quiet")];
    this.colours = { up: `${up}55`, down: `${down}55`, missing: colour("--shade-missing"), due: colour("--shade-due"), absent: colour("--shade-absent") };
    this.chart.applyOptions({ layout: { textColor: text }, grid: { vertLines: { color: line }, horzLines: { color: line } }, timeScale: { borderColor: line }, rightPriceScale: { borderColor: line } });
    this.candles.applyOptions({ upColor: up, downColor: down, borderVisible: false, wickUpColor: up, wickDownColor: down });
  }

  /** @param {Row} row */
  #bar(row) { return { time: seconds(row[0]), open: row[1], high: row[2], low: row[3], close: row[4] }; }

  /** @param {Row} row */
  #volume(row) { return { time: seconds(row[0]), value: row[5], color: row[4] >= row[1] ? this.colours?.up : this.colours?.down }; }

  /** Show all that is loaded; what is in view stays in view. @param {Candles} candles @param {number} typicalMs */
  show(candles, typicalMs) {
    this.rows = candles.rows;
    const blanks = candles.blanks();
    const shades = /** @type {Record<string, string>} */ (this.colours);
    const bars = [...this.rows.map((row) => this.#bar(row)), ...blanks.map((blank) => ({ time: seconds(blank.time) }))];
    bars.sort((a, b) => a.time - b.time);
    this.hasDays = typicalMs >= DAY_MS;
    this.chart.applyOptions({ timeScale: { secondsVisible: typicalMs < 60000, timeVisible: !this.hasDays } });
    this.digits = 0;
    this.#precision(this.rows.slice(-200));
    this.candles.setData(bars);
    this.volume.setData(this.rows.map((row) => this.#volume(row)));
    this.#tell();
    this.gaps.setData(blanks.map((blank) => ({ time: seconds(blank.time), value: 1, color: shades[blank.kind] })));
  }

  /** Add the newest candle, without drawing the others anew. @param {Row} row */
  add(row) {
    this.#precision([row]);
    this.candles.update(this.#bar(row));
    this.volume.update(this.#volume(row));
    this.#tell();
  }

  /** Say on the page what a canvas does not: how many candles are drawn, from which to which. */
  #tell() {
    const [first, last] = [this.rows[0], this.rows[this.rows.length - 1]];
    Object.assign(this.box.dataset, { candles: this.rows.length, first: first?.[0] ?? "", last: last?.[0] ?? "" });
  }

  /** As many digits as the prices have. @param {Row[]} rows */
  #precision(rows) {
    const most = Math.min(MAX_DIGITS, Math.max(this.digits, ...rows.flatMap((row) => row.slice(1, 5).map(digits))));
    if (most === this.digits && most > 0) return;
    this.digits = most;
    this.candles.applyOptions({ priceFormat: { type: "price", precision: most, minMove: 1 / 10 ** most } });
  }

  /** Times of candles of a day and more are those of UTC, whose days they are. */
  get #shownZone() { return this.hasDays ? "utc" : this.zone; }

  /** Whether the newest candle is in view. */
  get isAtNewest() { return this.chart.timeScale().scrollPosition() > -1; }

  /** The candle that the keys have led to, null where they have led to none. @returns {Row | null} */
  get marked() { return this.rows[this.cursor] ?? null; }

  /** Go to the newest candle. */
  toNewest() {
    this.cursor = -1;
    this.chart.clearCrosshairPosition();
    this.chart.timeScale().scrollToRealTime();
  }

  /** What a key does; the candle that it leads to, null where it leads to none. @param {KeyboardEvent} event @returns {Row | null} */
  key(event) {
    const last = this.rows.length - 1;
    const at = this.cursor < 0 ? last : Math.min(this.cursor, last);
    const step = event.shiftKey ? 10 : 1;
    /** @type {Record<string, number>} */
    const to = { ArrowLeft: this.cursor < 0 ? last : at - step, ArrowRight: at + step, Home: 0, End: last };
    if (event.key === "+" || event.key === "-" || event.key === "=") this.#zoom(event.key === "-" ? 1.25 : 0.8);
    if (!(event.key in to) || last < 0) return null;
    this.cursor = Math.max(0, Math.min(last, to[event.key]));
    const row = this.rows[this.cursor];
    this.#reveal(row);
    this.chart.setCrosshairPosition(row[4], seconds(row[0]), this.candles);
    return row;
  }

  /** @param {number} by */
  #zoom(by) {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const length = Math.max(CLOSEST, (range.to - range.from) * by);
    this.chart.timeScale().setVisibleLogicalRange({ from: range.to - length, to: range.to });
  }

  /** Bring a candle into view. @param {Row} row */
  #reveal(row) {
    const scale = this.chart.timeScale();
    const [range, at] = [scale.getVisibleLogicalRange(), scale.timeToIndex(seconds(row[0]), true)];
    if (!range || at === null || (at >= range.from && at <= range.to)) return;
    const length = range.to - range.from;
    const from = at < range.from ? at - 2 : at - length + 2;
    scale.setVisibleLogicalRange({ from, to: from + length });
  }
}
