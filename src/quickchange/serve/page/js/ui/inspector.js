// @ts-check
/**
 * The drawer that shows the KV cache at work, chunk by chunk. It plays the steps of a switch one after another and
 * shows ordinary chunks as they arrive. While it is closed, the server sends nothing for it.
 */
import { byId, el, reducedMotion, setText } from "./dom.js";
import { Filmstrip } from "./filmstrip.js";
import { ChunkLog, isSwitch } from "./chunklog.js";

/** @typedef {import("../net/protocol.js").Cache} CacheMessage */
/** @typedef {import("../net/protocol.js").CacheStep} CacheStep */

const STEP_MS = 350;
const HURRIED_MS = 110; // while another switch waits, so that the drawer keeps up with the picture
const MOST_WAITING = 4;

/** What the moves do, by the names that the server gives them. @type {Record<string, string>} */
const MOVES = {
  refresh: "The garment changes. Everything made under the old one becomes stale.",
  disentangle: "The last shown frame becomes the reference, so the motion continues from its pose.",
  withdraw: "History that shows the old garment leaves the cache.",
  retain: "Stale history stays visible.",
  forward: "Reference and garment are computed together, each in its own slot.",
  "new segment": "Positions start again, as at the start of a clip.",
  "new prompt": "The history stays valid: nothing becomes stale.",
  generate: "The next frames get slots and are denoised. Where the window is full, the oldest frames leave.",
  commit: "The entries just written become visible to attention.",
};

export class Inspector {
  #drawer = byId("inspector");
  #toggle = byId("inspector-toggle");
  #strip = new Filmstrip();
  #log = new ChunkLog();
  /** @type {CacheMessage[]} */
  #waiting = [];
  #playing = false;
  open = false;
  #send;

  /** @param {(message: import("../net/protocol.js").FromViewer) => boolean} send */
  constructor(send) {
    this.#send = send;
    this.#toggle.addEventListener("click", () => this.toggle());
    byId("inspector-close").addEventListener("click", () => this.toggle(false));
  }

  toggle(open = !this.open) {
    this.open = open;
    this.#drawer.hidden = !open;
    document.body.dataset.inspector = String(open);
    this.#toggle.setAttribute("aria-expanded", String(open));
    this.#send({ type: "inspect", on: open });
    // On a phone the drawer is far down the page.
    if (open && innerWidth <= 900) this.#drawer.scrollIntoView({ behavior: reducedMotion() ? "auto" : "smooth" });
    if (!open) {
      this.#waiting = [];
      if (this.#drawer.contains(document.activeElement)) this.#toggle.focus();
    }
  }

  /** Tells a new socket that the drawer is open. */
  welcome() {
    if (this.open) this.#send({ type: "inspect", on: true });
  }

  /** @param {CacheMessage} message */
  add(message) {
    if (!this.open || !message.steps.length) return;
    this.#log.add(message);
    this.#waiting.push(message);
    while (this.#waiting.length > MOST_WAITING) {
      // Too far behind: skip ordinary chunks first, because switches are what the drawer is for.
      const plain = this.#waiting.findIndex((waiting) => !isSwitch(waiting));
      this.#waiting.splice(Math.max(0, plain), 1);
    }
    this.#play();
  }

  async #play() {
    if (this.#playing) return;
    this.#playing = true;
    for (let message = this.#waiting.shift(); message && this.open; message = this.#waiting.shift()) {
      const slow = isSwitch(message) && !reducedMotion();
      const steps = slow ? message.steps : message.steps.slice(-1);
      for (const step of steps) {
        this.#show(message, step, slow || isSwitch(message));
        const pause = this.#waiting.some(isSwitch) ? HURRIED_MS : STEP_MS;
        if (slow) await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
    this.#playing = false;
  }

  /** @param {CacheMessage} message @param {CacheStep} step @param {boolean} switching */
  #show(message, step, switching) {
    this.#strip.draw(message.window, step.entries);
    const [r, g, t] = step.versions;
    setText(byId("cache-force"), `segment ${step.segment} · versions r${r} g${g} t${t}`);
    setText(byId("cache-move"), step.move);
    setText(byId("cache-words"), MOVES[step.move] ?? "");
    this.#drawer.dataset.switching = String(switching);
    const now = message.steps.indexOf(step);
    const chips = message.steps.map((each, index) => {
      const chip = el("li", { className: "move" }, each.move);
      chip.dataset.at = index < now ? "done" : index === now ? "now" : "ahead";
      return chip;
    });
    byId("cache-moves").replaceChildren(...chips);
    setText(byId("cache-text"), describe(message, step));
  }
}

/** The state in words, for those who cannot see the strip. @param {CacheMessage} message @param {CacheStep} step */
function describe(message, step) {
  const count = (/** @type {(entry: import("../net/protocol.js").CacheEntry) => boolean} */ test) => step.entries.filter(test).length;
  const [r, g, t] = step.versions;
  const states = ["live", "stale", "withdrawn", "writing"]
    .map((state) => [count((entry) => entry.thread === "history" && entry.state === state), state])
    .filter(([number]) => number)
    .map(([number, state]) => `${number} ${state}`);
  const taken = count((entry) => entry.state !== "withdrawn");
  return (
    `After the step "${step.move}", segment ${step.segment}: reference version ${r}, garment version ${g}, ` +
    `text version ${t}. History frames: ${states.join(", ") || "none"}. ${message.window - taken} of ` +
    `${message.window} slots are free.`
  );
}
