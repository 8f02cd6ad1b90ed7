// A series' last days: letters as the server has them (candlewick/dashboard/strip.py), colours, and words. Pure.

const DAY_MS = 86400000;

/** @type {Record<string, string>} */
export const MEANING = {
  ".": "nothing expected",
  r: "recorded",
  f: "recorded, part of it fetched later",
  a: "part of it absent at the exchange",
  m: "part of it missing",
  M: "all of it missing",
};

/** The strip as a CSS gradient: a colour a run of equal days. @param {string} strip */
export function gradient(strip) {
  const stops = [];
  for (let begin = 0, at = 1; at <= strip.length; at += 1) {
    if (at < strip.length && strip[at] === strip[begin]) continue;
    const colour = strip[begin] === "." ? "transparent" : `var(--day-${strip[begin]})`;
    stops.push(`${colour} ${percent(begin, strip)} ${percent(at, strip)}`);
    begin = at;
  }
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** @param {number} at @param {string} strip */
function percent(at, strip) { return `${Number(((at * 100) / strip.length).toFixed(2))}%`; }

/** The strip in words, such as `28 days recorded, 1 part of it missing`. @param {string} strip */
export function inWords(strip) {
  const counts = new Map();
  for (const letter of strip) if (letter !== ".") counts.set(letter, (counts.get(letter) ?? 0) + 1);
  if (!counts.size) return "nothing yet in these days";
  return [...counts].map(([letter, days]) => `${days} ${days === 1 ? "day" : "days"} ${MEANING[letter]}`).join("; ");
}

/** Day by day: its midnight in UTC ms and its letter. @param {string} strip @param {number} firstDay */
export function days(strip, firstDay) {
  return [...strip].map((letter, at) => ({ ms: firstDay + at * DAY_MS, letter }));
}
