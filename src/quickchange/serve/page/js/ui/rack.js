// @ts-check
/**
 * The rack: garments in groups, numbered for the keyboard. A tile is idle, next (asked for) or on (seen on the screen).
 */
import { Choices } from "./choices.js";
import { all, byId, el, icon, inside, reducedMotion, seam } from "./dom.js";
import { milliseconds } from "./text.js";

/** @typedef {import("../net/api.js").Garment} Garment */

/** @type {[import("../net/api.js").Kind, string, string, string][]} */
const GROUPS = [
  ["top", "Tops", "tops", "A shirt or a jumper"],
  ["bottom", "Bottoms", "bottoms", "Trousers or a skirt"],
  ["one-piece", "One-pieces", "one-pieces", "A dress or an overall"],
];
const NUMBERS = 9;

/** @extends {Choices<Garment>} */
export class Rack extends Choices {
  #box = byId("rack-groups");
  /** @type {string[]} */
  #trained = [];
  /** @type {number | null} */
  #ms = null;
  #hooks;

  /** @param {{onpick(garment: Garment, start: number): void, onadd(kind: string): void}} hooks */
  constructor(hooks) {
    super();
    this.#hooks = hooks;
  }

  /** The first garment of a kind that the model knows. @override */
  get first() {
    const known = this.bundled.find((garment) => !this.#trained.length || this.#trained.includes(garment.kind));
    return known ?? super.first;
  }

  /** The garment on key 1 to 9. @param {number} number */
  numbered(number) {
    return this.#ordered()[number - 1] ?? null;
  }

  /** @override @param {Garment} garment */
  add(garment) {
    super.add(garment);
    this.#reveal(garment.id);
  }

  /** @param {string[]} kinds that the model was trained on */
  trainedOn(kinds) {
    if (String(kinds) === String(this.#trained)) return;
    this.#trained = kinds;
    this.build();
  }

  /** The time is of the garment that is on. @override @param {string | null} id @param {number | null} [ms] */
  setOn(id, ms = null) {
    this.#ms = ms;
    super.setOn(id);
  }

  /** The garments in the order of their numbers: group by group, the viewer's own first. */
  #ordered() {
    return GROUPS.flatMap(([kind]) => this.items.filter((garment) => garment.kind === kind));
  }

  /** Scrolls the rack to a tile but never the page: on a phone the stage stays in view. @param {string} id */
  #reveal(id) {
    const tile = this.#box.querySelector(`[data-garment-id="${CSS.escape(id)}"]`);
    if (!tile) return;
    const [inner, outer] = [tile.getBoundingClientRect(), this.#box.getBoundingClientRect()];
    const past = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ low, /** @type {number} */ high) =>
      Math.max(0, to - high + 16) || Math.min(0, from - low - 16);
    const left = past(inner.left, inner.right, outer.left, outer.right);
    const top = past(inner.top, inner.bottom, outer.top, outer.bottom);
    this.#box.scrollBy({ left, top, behavior: reducedMotion() ? "auto" : "smooth" });
  }

  /** @override @protected */
  build() {
    const held = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.garmentId : null;
    const order = this.#ordered();
    const groups = GROUPS.map(([kind, title, plural, example]) => {
      const garments = order.filter((garment) => garment.kind === kind);
      const trained = !this.#trained.length || this.#trained.includes(kind);
      const note = trained ? null : el("p", { className: "group-note" }, this.#note(plural));
      const tiles = garments.map((garment) => this.#tile(garment, order.indexOf(garment) + 1));
      const invite = garments.length ? null : this.#invite(kind, example);
      const heading = el("h3", { className: "group-title", id: `group-${kind}` }, title);
      const list = el("div", { className: "tiles", role: "group", "aria-labelledby": `group-${kind}` }, ...tiles, invite);
      const section = el("section", { className: "group", "data-kind": kind, "data-empty": String(!garments.length) });
      section.append(el("div", { className: "group-head" }, heading, note), list);
      return section;
    });
    this.#box.replaceChildren(...groups);
    this.mark();
    if (held) all(this.#box, `[data-garment-id="${CSS.escape(held)}"]`)[0]?.focus();
  }

  /** @param {string} plural */
  #note(plural) {
    const known = GROUPS.filter(([kind]) => this.#trained.includes(kind)).map(([, , name]) => name).join(" and ");
    return `This model was trained on ${known}; ${plural} may not come out right.`;
  }

  /** @param {Garment} garment @param {number} number */
  #tile(garment, number) {
    const key = number <= NUMBERS ? el("kbd", { className: "tile-key", "aria-hidden": "true" }, String(number)) : null;
    const picture = el("span", { className: "tile-picture" });
    picture.append(el("img", { src: garment.image, alt: "", draggable: false, loading: "lazy", decoding: "async" }));
    picture.append(...(key ? [key] : []), el("span", { className: "tile-tag", "aria-hidden": "true" }), seam());
    if (garment.own) picture.append(el("span", { className: "tile-own" }, "yours"));
    const button = el("button", { type: "button", className: "tile", "data-garment-id": garment.id, "data-state": "idle" });
    if (number <= NUMBERS) button.setAttribute("aria-keyshortcuts", String(number));
    button.title = garment.name;
    button.append(picture, el("span", { className: "tile-name" }, garment.name));
    // The time of the event, so that the page's own reaction time counts as well.
    button.addEventListener("click", (event) => this.#hooks.onpick(garment, event.timeStamp));
    return button;
  }

  /** @param {string} kind @param {string} example */
  #invite(kind, example) {
    const text = el("span", {}, el("b", {}, "Add your own"), el("span", {}, `${example}: drop a photo`));
    const button = el("button", { type: "button", className: "invite" }, icon("plus"), text);
    button.addEventListener("click", () => this.#hooks.onadd(kind));
    return button;
  }

  /** @override @protected */
  mark() {
    for (const tile of all(this.#box, "[data-garment-id]")) {
      const id = tile.dataset.garmentId;
      const garment = this.find(id ?? "");
      const state = this.stateOf(id);
      tile.dataset.state = state;
      tile.setAttribute("aria-pressed", String(state === "on"));
      const tag = state === "next" ? "next" : this.#ms === null ? "on" : `on · ${milliseconds(this.#ms)}`;
      inside(tile, ".tile-tag").textContent = state === "idle" ? "" : tag;
      const words = state === "idle" ? "" : state === "next" ? ", next" : ", on";
      tile.setAttribute("aria-label", `${garment?.name}${garment?.own ? ", yours" : ""}${words}`);
    }
  }
}
