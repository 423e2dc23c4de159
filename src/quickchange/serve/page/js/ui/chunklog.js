// @ts-check
/** The times of the last chunks as bars, and the last few chunks as a table. */
import { byId, el, setText } from "./dom.js";

const BARS = 64;
const LINES = 6;

const SWITCHING = ["refresh", "disentangle", "withdraw"];

/** Whether a chunk began with a change of garment or person. @param {import("../net/protocol.js").Cache} message */
export function isSwitch(message) {
  return message.steps.some((step) => SWITCHING.includes(step.move));
}

export class ChunkLog {
  #bars = byId("chunk-bars");
  #lines = byId("chunk-lines");
  #evicted = 0;
  /** @type {{bar: HTMLElement, ms: number}[]} */
  #chunks = [];

  /** @param {import("../net/protocol.js").Cache} message */
  add(message) {
    const last = message.steps[message.steps.length - 1];
    const switching = isSwitch(message);
    const evicted = last.evicted - this.#evicted; // the server counts since the stream began
    this.#evicted = last.evicted;
    const ms = Math.round(message.milliseconds);
    const bar = el("i", { className: "bar-chunk", title: `frame ${message.frame}, segment ${last.segment}: ${ms} ms` });
    bar.dataset.switch = String(switching);
    bar.dataset.shade = String(last.segment % 2);
    this.#bars.append(bar);
    this.#chunks.push({ bar, ms: message.milliseconds });
    while (this.#chunks.length > BARS) this.#chunks.shift()?.bar.remove();
    const longest = Math.max(...this.#chunks.map((chunk) => chunk.ms));
    for (const chunk of this.#chunks) chunk.bar.style.height = `${Math.max(4, (chunk.ms / longest) * 100)}%`;
    setText(byId("bars-note"), `Time of each chunk; the longest bar is ${Math.round(longest)} ms`);

    const cells = [`${message.frame}`, `${last.segment}`, `${message.obeys}`, `${ms} ms`].map((text) => el("td", {}, text));
    const row = el("tr", {}, ...cells, el("td", {}, switching ? "switch" : evicted > 0 ? `${evicted} evicted` : ""));
    row.dataset.switch = String(switching);
    this.#lines.prepend(row);
    while (this.#lines.children.length > LINES) this.#lines.lastElementChild?.remove();
  }
}
