// @ts-check
/** One line of direction; Enter sends it, and a word says when the picture follows. */
import { byId, setText } from "./dom.js";
import { milliseconds } from "./text.js";

export const DEFAULT_PROMPT = "The person slowly turns slightly to the right.";

export class Prompt {
  #input = byId("prompt", HTMLTextAreaElement);
  #state = byId("prompt-state");
  #send = byId("prompt-send", HTMLButtonElement);
  #inForce = DEFAULT_PROMPT;
  #onsay;

  /** @param {(text: string, start: number) => void} onsay */
  constructor(onsay) {
    this.#onsay = onsay;
    this.#input.value = DEFAULT_PROMPT;
    this.#input.addEventListener("input", () => this.#edited());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault(); // one line of text: Enter sends
        this.#submit(event.timeStamp);
      } else if (event.key === "Escape") {
        this.#input.value = this.#inForce;
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
    return this.#inForce;
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /** What the session says is in force, e.g. after a reload. @param {string} text */
  restore(text) {
    const untouched = this.#input.value === this.#inForce;
    this.#inForce = text;
    if (untouched) this.#input.value = text;
    this.#edited();
  }

  /** @param {number | null} ms */
  shown(ms) {
    this.#say("on", ms === null ? "In force" : `In force after ${milliseconds(ms)}`);
  }

  refused() {
    this.#say("edited", "Not taken; the old one stays in force");
  }

  /** @param {number} start */
  #submit(start) {
    const text = this.#input.value.replace(/\s+/g, " ").trim();
    this.#input.value = text;
    this.#input.blur(); // keys belong to the stage again
    if (text === this.#inForce) return this.#say("on", "In force");
    this.#inForce = text;
    this.#say("next", "On its way");
    this.#onsay(text, start);
  }

  #edited() {
    const changed = this.#input.value.replace(/\s+/g, " ").trim() !== this.#inForce;
    this.#say(changed ? "edited" : "on", changed ? "Press Enter to send" : "In force");
  }

  /** @param {string} kind @param {string} words */
  #say(kind, words) {
    this.#state.dataset.kind = kind;
    setText(this.#state, words);
    this.#send.disabled = kind !== "edited";
  }
}
