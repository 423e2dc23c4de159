// @ts-check
/** The KV cache as a strip of film: one cell per slot, redrawn in place so that changes can be animated by CSS. */
import { byId, el, icon, setText } from "./dom.js";

/** @typedef {import("../net/protocol.js").CacheEntry} CacheEntry */

const LETTERS = { reference: "ref", garment: "gar", history: "" };
const STATES = {
  live: "visible to attention",
  stale: "made under an older version, about to leave",
  withdrawn: "leaves the cache with this step",
  writing: "being computed",
};

export class Filmstrip {
  #strip = byId("filmstrip");
  #tip = byId("slot-tip");
  /** @type {HTMLElement[]} */
  #cells = [];
  /** @type {(CacheEntry | null)[]} */
  #entries = [];
  #focus = 0;
  /** @type {number | null} */
  #tipped = null;

  constructor() {
    this.#strip.addEventListener("pointerover", (/** @type {PointerEvent} */ event) => this.#point(event.target));
    this.#strip.addEventListener("pointerleave", () => this.#hide());
    this.#strip.addEventListener("focusin", (/** @type {FocusEvent} */ event) => this.#point(event.target));
    this.#strip.addEventListener("focusout", () => this.#hide());
    this.#strip.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#walk(event));
  }

  /**
   * @param {number} window
   * @param {CacheEntry[]} entries
   */
  draw(window, entries) {
    if (this.#cells.length !== window) this.#build(window);
    const bySlot = new Map(entries.map((entry) => [entry.slot, entry]));
    this.#cells.forEach((cell, slot) => this.#cell(cell, slot, bySlot.get(slot) ?? null));
    if (this.#tipped !== null) this.#tell(this.#tipped);
  }

  /** @param {number} window */
  #build(window) {
    this.#cells = Array.from({ length: window }, (_, slot) => {
      const cell = el("button", { type: "button", className: "slot", "data-slot": slot, tabIndex: slot ? -1 : 0 });
      cell.append(el("span", { className: "slot-thread" }), el("span", { className: "slot-version" }));
      cell.append(el("span", { className: "slot-position" }), icon("pin"));
      return cell;
    });
    this.#strip.style.setProperty("--window", String(window));
    this.#strip.replaceChildren(...this.#cells);
  }

  /** @param {HTMLElement} cell @param {number} slot @param {CacheEntry | null} entry */
  #cell(cell, slot, entry) {
    this.#entries[slot] = entry;
    const [thread, version, position] = cell.children;
    cell.dataset.state = entry ? entry.state : "free";
    cell.dataset.thread = entry ? entry.thread : "";
    cell.dataset.pinned = String(Boolean(entry?.pinned));
    // Shades tell old and new garments apart, not the label alone.
    cell.dataset.shade = String(entry ? entry.versions[1] % 3 : 0);
    setText(thread, entry ? LETTERS[entry.thread] || `#${entry.frame}` : "");
    setText(version, entry ? `r${entry.versions[0]}\ng${entry.versions[1]}` : "");
    setText(position, entry ? `${entry.position}` : "");
    cell.setAttribute("aria-label", entry ? `Slot ${slot}: ${entry.thread}, ${entry.state}` : `Slot ${slot}: free`);
  }

  /** @param {EventTarget | null} target */
  #point(target) {
    const cell = target instanceof Element ? target.closest(".slot") : null;
    if (cell instanceof HTMLElement) this.#tell(Number(cell.dataset.slot));
  }

  /** @param {KeyboardEvent} event */
  #walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape" && this.#tipped !== null) {
      event.stopPropagation();
      return this.#hide();
    }
    if (step === undefined) return;
    event.preventDefault();
    this.#cells[this.#focus].tabIndex = -1;
    this.#focus = Math.max(0, Math.min(this.#cells.length - 1, this.#focus + step));
    this.#cells[this.#focus].tabIndex = 0;
    this.#cells[this.#focus].focus();
  }

  #hide() {
    this.#tipped = null;
    this.#tip.hidden = true;
  }

  /** @param {number} slot */
  #tell(slot) {
    this.#tipped = slot;
    const entry = this.#entries[slot];
    /** @type {[string, string][]} */
    const rows = entry
      ? [
          ["thread", entry.thread],
          ["state", `${entry.state}, ${STATES[entry.state]}`],
          ["made under", `reference ${entry.versions[0]}, garment ${entry.versions[1]}, text ${entry.versions[2]}`],
          ["latent frame", `${entry.frame}, chunk ${entry.chunk}, segment ${entry.segment}`],
          ["position", String(entry.position)],
          ["marks", [entry.pinned && "pinned, never evicted", entry.carried && "carried over a switch"].filter(Boolean).join("; ") || "none"],
        ]
      : [["state", "free"]];
    const list = el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    this.#tip.replaceChildren(el("p", { className: "tip-title" }, `Slot ${slot}`), list);
    this.#tip.hidden = false;
    const cell = this.#cells[slot].getBoundingClientRect();
    const width = this.#tip.offsetWidth;
    const left = Math.max(8, Math.min(innerWidth - width - 8, cell.left + cell.width / 2 - width / 2));
    this.#tip.style.left = `${left}px`;
    this.#tip.style.top = `${Math.max(8, cell.top - this.#tip.offsetHeight - 10)}px`;
  }
}
