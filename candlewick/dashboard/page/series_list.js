// The list of all series with their strips: a list box, found in by typing, walked through with the arrow keys.

import { element, say } from "./dom.js";
import { count } from "./format.js";
import { gradient, inWords } from "./strip.js";

/** @typedef {{market: string, symbol: string, interval: string, files: number, bytes: number, newest_end?: number | null,
 *   strip?: string, missing?: number, absent?: number, state?: string}} Series */
/** @typedef {{version: number, first_day: number, days: number, series: Series[]}} Listing */

/** A series in a text, as the page's address has it. @param {{market: string, symbol: string, interval: string}} series */
export function keyOf(series) { return `${series.market}/${series.symbol}/${series.interval}`; }

/** Whether every word of a question is somewhere in a series' names. Pure. @param {Series} series @param {string} question */
export function fits(series, question) {
  const name = `${series.symbol} ${series.market} ${series.interval}`.toLowerCase();
  return question.toLowerCase().split(/[\s/]+/).every((word) => name.includes(word));
}

/** How a series is, for those who do not see its strip. Pure. @param {Series} series */
export function described(series) {
  const strip = series.strip === undefined ? "not looked at yet" : inWords(series.strip);
  return series.state && series.state !== "recorded" ? `${series.state}. ${strip}` : strip;
}

export class SeriesList {
  /** @param {{list: HTMLElement, search: HTMLInputElement, number: HTMLElement, choose: (key: string) => void}} page */
  constructor({ list, search, number, choose }) {
    this.list = list;
    this.search = search;
    this.number = number;
    this.choose = choose;
    /** @type {Map<string, {series: Series, row: HTMLElement, strip: HTMLElement, words: HTMLElement, text: string}>} */ this.known = new Map();
    this.chosen = "";
    search.addEventListener("input", () => this.filter());
    search.addEventListener("keydown", (event) => this.#keyInSearch(event));
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("click", (event) => {
      const row = event.target instanceof Element ? event.target.closest("li") : null;
      if (row?.dataset.key) this.choose(row.dataset.key);
    });
  }

  /** Show a new listing; rows of series that are there already stay the same elements. @param {Listing} listing */
  show(listing) {
    const keys = new Set(listing.series.map(keyOf));
    for (const [key, { row }] of this.known) if (!keys.has(key)) { row.remove(); this.known.delete(key); }
    const added = document.createDocumentFragment();
    for (const series of listing.series) {
      const key = keyOf(series);
      const found = this.known.get(key) ?? this.#row(key, series, added);
      found.series = series;
      const text = described(series);
      if (found.text !== text) {
        found.text = text;
        say(found.words, text);
        found.row.title = text;
        found.row.classList.toggle("trouble", Boolean(series.missing) || /^(damaged|unknown)/.test(series.state ?? ""));
      }
      const drawn = series.strip ?? "";
      if (found.strip.dataset.strip !== drawn) {
        found.strip.dataset.strip = drawn;
        found.strip.style.backgroundImage = drawn ? gradient(drawn) : "";
      }
    }
    this.list.append(added);
    this.filter();
    this.mark(this.chosen);
  }

  /** @param {string} key @param {Series} series @param {DocumentFragment} parent */
  #row(key, series, parent) {
    const [strip, words] = [element("span", { class: "strip" }), element("span", { class: "hidden" })];
    const row = element("li", { role: "option", id: `series-${key}`, "data-key": key, "aria-selected": "false" },
      element("span", { class: "symbol" }, series.symbol), element("span", { class: "quiet" }, `${series.interval} ${series.market}`), strip, words);
    parent.append(row);
    const found = { series, row, strip, words, text: "" };
    this.known.set(key, found);
    return found;
  }

  /** Show those alone that fit what is searched for. */
  filter() {
    let left = 0;
    for (const { series, row } of this.known.values()) {
      row.hidden = !fits(series, this.search.value);
      if (!row.hidden) left += 1;
    }
    const all = this.known.size;
    say(this.number, left === all ? count(all) : `${count(left)} of ${count(all)}`);
  }

  /** Mark the chosen one. @param {string} key */
  mark(key) {
    this.known.get(this.chosen)?.row.setAttribute("aria-selected", "false");
    this.chosen = key;
    const row = this.known.get(key)?.row;
    row?.setAttribute("aria-selected", "true");
    if (row) this.list.setAttribute("aria-activedescendant", row.id);
    else this.list.removeAttribute("aria-activedescendant");
  }

  get shown() { return [...this.known.keys()].filter((key) => !this.known.get(key)?.row.hidden); }

  /** @param {KeyboardEvent} event */
  #keyInSearch(event) {
    if (event.key === "Escape") { this.search.value = ""; this.filter(); }
    if (event.key === "Enter" && this.shown[0]) this.choose(this.shown[0]);
    if (event.key === "ArrowDown") { this.list.focus(); event.preventDefault(); }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const shown = this.shown;
    const at = shown.indexOf(this.chosen);
    /** @type {Record<string, number>} */
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, PageDown: at + 10, PageUp: at - 10 };
    if (!(event.key in to) || !shown.length) return;
    event.preventDefault();
    const key = shown[Math.max(0, Math.min(shown.length - 1, to[event.key]))];
    this.choose(key);
    this.known.get(key)?.row.scrollIntoView({ block: "nearest" });
  }
}
