// @ts-check
/** What the last chunks took, as bars, and the last few in words. */
import { byId, el } from "./dom.js";

const BARS = 64;
const LINES = 6;
const SCALE_MS = 500; // what half a second of video may take; a bar beyond it is slower than it is shown

const SWITCHING = ["refresh", "disentangle", "withdraw"];

/** Whether a chunk began with a change of garment or person. @param {import("./types.js").CacheMessage} message */
export function isSwitch(message) {
  return message.steps.some((step) => SWITCHING.includes(step.move));
}

export class ChunkLog {
  #bars = byId("chunk-bars");
  #lines = byId("chunk-lines");
  #evicted = 0;

  /** @param {import("./types.js").CacheMessage} message */
  add(message) {
    const last = message.steps[message.steps.length - 1];
    const switching = isSwitch(message);
    const evicted = last.evicted - this.#evicted; // the server counts since the stream began
    this.#evicted = last.evicted;
    const ms = Math.round(message.milliseconds);
    const bar = el("i", { className: "bar-chunk", title: `frame ${message.frame}, segment ${last.segment}: ${ms} ms` });
    bar.dataset.switch = String(switching);
    bar.dataset.shade = String(last.segment % 2);
    bar.style.height = `${Math.max(6, Math.min(100, (message.milliseconds / SCALE_MS) * 100))}%`;
    this.#bars.append(bar);
    while (this.#bars.children.length > BARS) this.#bars.firstElementChild?.remove();

    const cells = [`${message.frame}`, `${last.segment}`, `${message.obeys}`, `${ms} ms`].map((text) => el("td", {}, text));
    const row = el("tr", {}, ...cells, el("td", {}, switching ? "switch" : evicted > 0 ? `${evicted} evicted` : ""));
    row.dataset.switch = String(switching);
    this.#lines.prepend(row);
    while (this.#lines.children.length > LINES) this.#lines.lastElementChild?.remove();
  }
}
