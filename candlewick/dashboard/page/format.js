// Values as people read them. Pure; every function takes its time zone, so that what it gives can be tested.

/** @typedef {"utc" | "local"} Zone */

const SIZES = ["B", "kB", "MB", "GB", "TB"];
const NEVER = "–";

/** A count with separators of thousands; a dash where there is none. @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined ? NEVER : value.toLocaleString("en", { maximumFractionDigits: 1 });
}

/** Bytes in decimal units, three digits. @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return NEVER;
  let step = 0;
  while (bytes >= 1000 && step < SIZES.length - 1) {
    bytes /= 1000;
    step += 1;
  }
  return `${Number(bytes.toPrecision(3))} ${SIZES[step]}`;
}

/** Seconds from a millisecond to days, in one unit. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NEVER;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400).toLocaleString("en")} days`;
}

/** A price or volume, no digit more than it has. @param {number} value */
export function price(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 10 });
}

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** Parts of a moment in a zone. @param {number} ms @param {Zone} zone @returns {Record<string, string>} */
function parts(ms, zone) {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("en-CA", {
      year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
      hourCycle: "h23", timeZone: zone === "utc" ? "UTC" : undefined, timeZoneName: "shortOffset",
    });
    formats.set(zone, format);
  }
  return Object.fromEntries(format.formatToParts(ms).map((part) => [part.type, part.value]));
}

/** 2026-11-27. @param {number} ms @param {Zone} zone */
export function date(ms, zone) {
  const part = parts(ms, zone);
  return `${part.year}-${part.month}-${part.day}`;
}

/** 12:03, or 12:03:07 where the seconds count. @param {number} ms @param {Zone} zone */
export function time(ms, zone) {
  const part = parts(ms, zone);
  return `${part.hour}:${part.minute}${part.second === "00" ? "" : `:${part.second}`}`;
}

/** 2026-11-27 12:03 UTC, or with the offset of that moment: an hour that comes twice in autumn is told apart. @param {number | string | null | undefined} moment @param {Zone} zone */
export function moment(moment, zone) {
  if (moment === null || moment === undefined) return NEVER;
  const ms = typeof moment === "string" ? Date.parse(moment) : moment;
  return `${date(ms, zone)} ${time(ms, zone)} ${zone === "utc" ? "UTC" : parts(ms, zone).timeZoneName}`;
}

/** How many digits stand behind a number's point. @param {number} value */
export function digits(value) {
  const [mantissa, exponent = "0"] = String(value).split("e");
  return Math.max(0, (mantissa.split(".")[1] ?? "").length - Number(exponent));
}

/** What stands at a tick of the time axis, which the library puts by UTC; `level` is the library's: 0 year, 1 month, 2 day, 3 minute, 4 second.
 * @param {number} ms @param {number} level @param {Zone} zone */
export function tick(ms, level, zone) {
  const part = parts(ms, zone);
  const isMidnight = part.hour === "00" && part.minute === "00" && part.second === "00";
  if (level === 0 && isMidnight) return part.year;
  if (level <= 2) return `${part.month}-${part.day}${isMidnight ? "" : ` ${part.hour}:${part.minute}`}`;
  return level === 4 ? `${part.hour}:${part.minute}:${part.second}` : `${part.hour}:${part.minute}`;
}

/** One thing or several. @param {number} number @param {string} one @param {string} [several] */
export function counted(number, one, several = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : several}`;
}
