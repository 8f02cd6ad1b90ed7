// A small plot of two lines as SVG: the median, and above it what 99 of 100 stay below. The geometry is pure.

/** @typedef {[number, number | null, number | null]} Point UTC seconds, p50 and p99 in seconds */

const WIDTH = 160;
const HEIGHT = 36;
const SVG = "http://www.w3.org/2000/svg";

/** A line's path; it is broken where nothing came. @param {Point[]} points @param {1 | 2} which @param {number} top */
export function path(points, which, top) {
  const first = points[0]?.[0] ?? 0;
  const length = Math.max(1, (points[points.length - 1]?.[0] ?? 0) - first);
  let isDown = false;
  return points.map((point) => {
    const value = point[which];
    if (value === null) {
      isDown = false;
      return "";
    }
    const x = ((point[0] - first) / length) * WIDTH;
    const y = HEIGHT - 1 - (Math.min(value, top) / top) * (HEIGHT - 2);
    const step = `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isDown = true;
    return step;
  }).join("");
}

/** The highest value, with some room above it. @param {Point[]} points */
export function top(points) { return Math.max(0.001, ...points.map((point) => point[2] ?? 0)) * 1.1; }

/** The plot as an element; `words` say what it shows. @param {Point[]} points @param {string} words */
export function plot(points, words) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", words);
  svg.classList.add("plot");
  const highest = top(points);
  for (const which of /** @type {const} */ ([2, 1])) {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", path(points, which, highest));
    line.classList.add(which === 1 ? "p50" : "p99");
    svg.append(line);
  }
  return svg;
}
