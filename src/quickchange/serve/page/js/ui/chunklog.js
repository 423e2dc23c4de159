// @ts-check
/** What the last chunks took, as bars, and the last few in words. */
import { byId, el, setText } from "./dom.js";

const BARS = 64;
const LINES = 6;

const SWITCHING = ["refresh", "disentangle", "withdraw"];

/** Whether a chunk began with a change of garment or person. @param {import("../net/types.js").CacheMessage} message */
export function isSwitch(message) {
  return message.steps.some((step) => SWITCHING.includes(step.move));
}

export class ChunkLog {
  #bars = byId("chunk-bars");
  #lines = byId("chunk-lines");
  #evicted = 0;
  /** @type {number[]} */
  #times = [];

  /** @param {import("../net/types.js").CacheMessage} message */
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
    this.#times.push(message.milliseconds);
    while (this.#bars.children.length > BARS) {
      this.#bars.firstElementChild?.remove();
      this.#times.shift();
    }
    const longest = Math.max(...this.#times);
    [...this.#bars.children].forEach((each, index) => {
      each.style.height = `${Math.max(4, (this.#times[index] / longest) * 100)}%`;
    });
    setText(byId("bars-note"), `Time of each chunk; the longest bar is ${Math.round(longest)} ms`);

    const cells = [`${message.frame}`, `${last.segment}`, `${message.obeys}`, `${ms} ms`].map((text) => el("td", {}, text));
    const row = el("tr", {}, ...cells, el("td", {}, switching ? "switch" : evicted > 0 ? `${evicted} evicted` : ""));
    row.dataset.switch = String(switching);
    this.#lines.prepend(row);
    while (this.#lines.children.length > LINES) this.#lines.lastElementChild?.remove();
  }
}
