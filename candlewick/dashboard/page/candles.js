// The candles of the chosen series, as far as they are loaded, and what is missing among them. Pure.
//
// A candle is its open time: what comes twice is one candle, in whatever order it comes. Gaps come from the server with
// their reasons; those of a piece that is loaded again replace what was known of its times.

/** @typedef {[number, number, number, number, number, number]} Row open time in UTC ms, open, high, low, close, volume */
/** @typedef {{begin: number, end: number, candles: number, kind: string, reason: string}} Gap */
/** @typedef {{candles: Row[], gaps: Gap[], more: boolean}} Piece */

const MAX_BLANKS = 200;

export class Candles {
  constructor() {
    /** @type {Row[]} */ this.rows = [];
    /** @type {Gap[]} */ this.gaps = [];
    this.more = true;
  }

  get first() { return this.rows[0]?.[0]; }

  get last() { return this.rows[this.rows.length - 1]; }

  /** Take rows in; whether all are newer than what was there. @param {Row[]} rows */
  add(rows) {
    const newest = this.last?.[0] ?? -Infinity;
    const known = new Map(rows.map((row) => [row[0], row]));
    const fresh = [...known.values()].sort((a, b) => a[0] - b[0]);
    if (fresh.every((row) => row[0] > newest)) {
      this.rows.push(...fresh);
      return true;
    }
    this.rows = [...this.rows.filter((row) => !known.has(row[0])), ...fresh].sort((a, b) => a[0] - b[0]);
    return false;
  }

  /** Take a piece of history in, which reaches up to `before`; without it up to now. @param {Piece} piece @param {number} [before] */
  load(piece, before = Infinity) {
    const isOldest = this.first === undefined || !piece.candles.length || piece.candles[0][0] <= this.first;
    if (isOldest) this.more = piece.more;
    const begin = piece.more ? piece.candles[0]?.[0] ?? -Infinity : -Infinity;
    if (piece.candles.length && this.last && piece.candles[0][0] > this.last[0] && piece.more) {
      this.rows = []; // a page that was away for longer than a piece: what lies between is loaded when one scrolls there
      this.gaps = [];
      this.more = true;
    }
    this.add(piece.candles);
    const others = this.gaps.filter((gap) => gap.end <= begin || gap.begin >= before);
    this.gaps = [...others, ...piece.gaps].sort((a, b) => a.begin - b.begin);
  }

  /** The gap at a time, if there is one. @param {number} ms */
  gapAt(ms) { return this.gaps.find((gap) => gap.begin <= ms && ms < gap.end); }

  /** Open times at which a place is left free: those of gaps, at most 200 of each. @returns {{time: number, kind: string}[]} */
  blanks() {
    const taken = new Set(this.rows.map((row) => row[0]));
    return this.gaps.flatMap((gap) => {
      const number = Math.min(gap.candles, MAX_BLANKS);
      const step = (gap.end - gap.begin) / number;
      return Array.from({ length: number }, (_, at) => ({ time: Math.floor(gap.begin + at * step), kind: gap.kind }))
        .filter((blank) => !taken.has(blank.time));
    });
  }
}
