// @ts-check
/** The direction: one line that Enter sends. A note says when the picture follows it. */
import { byId, setText } from "./dom.js";
import { milliseconds } from "./text.js";

export const DEFAULT_PROMPT = "The person slowly turns slightly to the right.";

export class Prompt {
  #input = byId("prompt", HTMLTextAreaElement);
  #state = byId("prompt-state");
  #send = byId("prompt-send", HTMLButtonElement);
  #active = DEFAULT_PROMPT;
  #onsay;

  /** @param {(text: string, start: number) => void} onsay */
  constructor(onsay) {
    this.#onsay = onsay;
    this.#input.value = DEFAULT_PROMPT;
    this.#input.addEventListener("input", () => this.#edited());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault(); // Enter sends instead of starting a new line
        this.#submit(event.timeStamp);
      } else if (event.key === "Escape") {
        this.#input.value = this.#active;
        this.#edited();
        this.#input.blur();
      }
    });
    byId("prompt-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#submit(event.timeStamp);
    });
    this.#edited();
  }

  get text() {
    return this.#active;
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /** Shows the direction that the session reports, for example after a reload. @param {string} text */
  restore(text) {
    const untouched = this.#input.value === this.#active;
    this.#active = text;
    if (untouched) this.#input.value = text;
    this.#edited();
  }

  /** @param {number | null} ms */
  shown(ms) {
    this.#say("on", ms === null ? "Active" : `Active after ${milliseconds(ms)}`);
  }

  refused() {
    this.#say("edited", "Not accepted; the previous direction stays active");
  }

  /** @param {number} start */
  #submit(start) {
    const text = this.#input.value.replace(/\s+/g, " ").trim();
    this.#input.value = text;
    this.#input.blur(); // so that the keyboard shortcuts work again
    if (text === this.#active) return this.#say("on", "Active");
    this.#active = text;
    this.#say("next", "On its way");
    this.#onsay(text, start);
  }

  #edited() {
    const changed = this.#input.value.replace(/\s+/g, " ").trim() !== this.#active;
    this.#say(changed ? "edited" : "on", changed ? "Press Enter to send" : "Active");
  }

  /** @param {string} kind @param {string} words */
  #say(kind, words) {
    this.#state.dataset.kind = kind;
    setText(this.#state, words);
    this.#send.disabled = kind !== "edited";
  }
}
