// @ts-check
/** Small helpers for the DOM. Data becomes text nodes or attributes, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * The element with this id and of this class. index.html has it; an error says so where it does not.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {{new (): T, name: string}} [type]
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!found || !(found instanceof (type ?? HTMLElement))) {
    throw new Error(`index.html has no ${type?.name ?? "element"} #${id}`);
  }
  return /** @type {T} */ (found);
}

/**
 * The first element inside `parent` that fits the selector. Its absence is a bug.
 * @template {Element} [T=HTMLElement]
 * @param {Element} parent
 * @param {string} selector
 * @returns {T}
 */
export function inside(parent, selector) {
  const found = parent.querySelector(selector);
  if (!found) throw new Error(`#${parent.id} has no ${selector}`);
  return /** @type {T} */ (found);
}

/**
 * All HTML elements inside `parent` that fit the selector.
 * @param {Element} parent
 * @param {string} selector
 * @returns {HTMLElement[]}
 */
export function all(parent, selector) {
  return [...parent.querySelectorAll(selector)].filter((found) => found instanceof HTMLElement);
}

/**
 * A new element. Props whose name starts with "data-" or "aria-", and `role`, become attributes, the others properties.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [props]
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, String(value));
    else Reflect.set(node, name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/**
 * An icon of the sprite in index.html.
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** The seam around a tile: its stitches run while a garment is next, and it is closed when the garment is on. */
export function seam() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "seam");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS(SVG, "rect");
  svg.append(rect);
  return svg;
}

/**
 * Sets the text only where it differs, so that live regions and selections are not disturbed.
 * @param {Node | null} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
