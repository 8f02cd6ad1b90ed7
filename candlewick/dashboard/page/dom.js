// Elements in one call, and those that the page has by their ids.

/** @param {string} tag @param {Record<string, string | number | boolean | null | undefined>} [attributes]
 * @param {...(Node | string)} children */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/** An element of the page; a mistake of ours where it has none. @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** Keep what is there where nothing has changed: a reader's place and a selection stay. @param {HTMLElement} parent @param {...(Node | string)} children */
export function replace(parent, ...children) {
  const fresh = element("div", {}, ...children);
  if (parent.innerHTML !== fresh.innerHTML) parent.replaceChildren(...fresh.childNodes);
}

/** @param {HTMLElement} parent @param {string} text */
export function say(parent, text) {
  if (parent.textContent !== text) parent.textContent = text;
}
