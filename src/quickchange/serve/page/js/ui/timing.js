// @ts-check
/** The times from click to picture: the last one large, the earlier ones as dots on one scale. */
import { byId, el, setText } from "./dom.js";
import { milliseconds } from "./text.js";

const MOST = 24;
const LEAST_SCALE_MS = 500;
const LEAST_TIMES = 5; // fewer times give no meaningful percentiles

export class Timing {
  #dots = byId("timing-dots");
  /** @type {number[]} */
  #times = [];

  /** @param {number} ms @param {string} what */
  add(ms, what) {
    this.#times = [...this.#times, ms].slice(-MOST);
    const scale = Math.max(LEAST_SCALE_MS, Math.ceil(Math.max(...this.#times) / 250) * 250);
    const number = byId("timing-last");
    const [value, unit] = milliseconds(ms).split(" ");
    number.replaceChildren(value, el("small", {}, ` ${unit}`));
    number.classList.remove("fresh");
    void number.offsetWidth; // restarts the animation
    number.classList.add("fresh");
    setText(byId("timing-what"), what);
    setText(byId("timing-scale"), milliseconds(scale));
    this.#dots.replaceChildren(
      ...this.#times.map((time, index) => {
        const dot = el("i", { className: index === this.#times.length - 1 ? "dot last" : "dot" });
        dot.style.left = `${(time / scale) * 100}%`;
        return dot;
      }),
    );
    setText(byId("timing-percentiles"), this.#percentiles());
    this.#dots.setAttribute("aria-label", `The last ${this.#times.length}: ${this.#times.map(Math.round).join(", ")} ms`);
  }

  #percentiles() {
    if (this.#times.length < LEAST_TIMES) return "";
    const sorted = [...this.#times].sort((a, b) => a - b);
    const at = (/** @type {number} */ share) => milliseconds(sorted[Math.ceil(share * sorted.length) - 1]);
    return `50% within ${at(0.5)}, 95% within ${at(0.95)}`;
  }
}
