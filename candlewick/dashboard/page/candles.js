// The candles of the chosen series, as far as they are loaded, and what is missing among them. Pure.
//
// A candle is its open time: what comes twice is one candle, in whatever order it comes. Gaps come from the server with
// their reasons; those of a piece that is loaded again replace what was known of its times.

/** @typedef {[number, number, number, number, number, number]} Row open time in UTC ms, open, high, low, close, volume */
/** @typedef {{begin: number, end: number, candles: number, kind: string, reason: string}} Gap */
/** @typedef {{candles: Row[], gaps: Gap[], more: boolean, stored_only?: boolean}} Piece */

const MAX_BLANKS = 200;

export class Candles {
  constructor() {
    /** @type {Row[]} */ this.rows = [];
    /** @type {Gap[]} */ this.gaps = [];
    this.more = true;
    this.isLoading = false; // an older piece
    this.isWaiting = false; // to ask again for the newest one
    /** Up to which open time nothing is unknown, while more may have come behind it than was heard; null: up to now.
     * @type {number | null} */
    this.reach = -Infinity;
  }

  get first() { return this.rows[0]?.[0]; }

  get last() { return this.rows[this.rows.length - 1]; }

  /** Something may have come that was not heard: until the newest piece is loaded nothing behind the last row is sure. */
  interrupt() { this.reach ??= this.last?.[0] ?? -Infinity; }

  /** Take rows in, in whatever order; those rows, ascending, if all are newer than what was there, else null.
   * @param {Row[]} rows @returns {Row[] | null} */
  add(rows) {
    const newest = this.last?.[0] ?? -Infinity;
    const known = new Map(rows.map((row) => [row[0], row]));
    const fresh = [...known.values()].sort((a, b) => a[0] - b[0]);
    this.gaps = this.gaps.flatMap((gap) => without(gap, fresh));
    if (fresh.every((row) => row[0] > newest)) {
      this.rows.push(...fresh);
      return fresh;
    }
    this.rows = [...this.rows.filter((row) => !known.has(row[0])), ...fresh].sort((a, b) => a[0] - b[0]);
    return null;
  }

  /** Take a piece of history in, which reaches up to `before`; without it up to now. @param {Piece} piece @param {number} [before] */
  load(piece, before = Infinity) {
    const begin = piece.more ? piece.candles[0][0] : -Infinity;
    if (before === Infinity) {
      if (this.reach !== null && this.reach < begin) { // what lies between is loaded when one scrolls there
        this.rows = this.rows.filter((row) => row[0] >= begin);
        this.gaps = [];
        this.more = true;
      }
      this.reach = null;
    }
    if (this.first === undefined || begin <= this.first) this.more = piece.more;
    this.add(piece.candles);
    const others = this.gaps.filter((gap) => gap.end <= begin || gap.begin >= before);
    this.gaps = [...others, ...piece.gaps].sort((a, b) => a.begin - b.begin);
  }

  /** Forget all but the newest rows. @param {number} number */
  trim(number) {
    this.rows = this.rows.slice(-number);
    this.gaps = this.gaps.filter((gap) => gap.end > this.first);
    this.more = true;
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

/** What is left of a gap when rows have come that lie in it. @param {Gap} gap @param {Row[]} rows @returns {Gap[]} */
function without(gap, rows) {
  const inside = rows.filter((row) => row[0] >= gap.begin && row[0] < gap.end).map((row) => row[0]);
  if (!inside.length) return [gap];
  const step = (gap.end - gap.begin) / gap.candles;
  const edges = [gap.begin - step, ...inside, gap.end];
  return edges.slice(1).flatMap((end, at) => {
    const begin = edges[at] + step;
    return end - begin >= step / 2 ? [{ ...gap, begin, end, candles: Math.round((end - begin) / step) }] : [];
  });
}
