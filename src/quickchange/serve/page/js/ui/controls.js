// @ts-check
/** The buttons under the picture. They show what the server says, not what was clicked. */
import * as api from "../net/api.js";
import { byId, el, icon, inside, setText } from "./dom.js";
import { clockTime, errorText } from "./text.js";
import { announce, toast } from "./toast.js";

export class Controls {
  #pause = byId("pause", HTMLButtonElement);
  #take = byId("take", HTMLButtonElement);
  #snapshot = byId("snapshot", HTMLButtonElement);
  #record = byId("record", HTMLButtonElement);
  #fullscreen = byId("fullscreen");
  #timer = 0;
  #recordedSince = 0;
  recording = false;
  paused = false;
  #hooks;

  /**
   * @param {{send(message: import("../net/protocol.js").FromViewer): boolean, take(start: number): void,
   *   session(): string | null, frame(): number | null, flash(): void}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#pause.addEventListener("click", () => this.togglePause());
    this.#take.addEventListener("click", (/** @type {MouseEvent} */ event) => hooks.take(event.timeStamp));
    this.#snapshot.addEventListener("click", () => this.snapshot());
    this.#record.addEventListener("click", () => this.toggleRecord());
    this.#fullscreen.addEventListener("click", () => this.toggleFullscreen());
    this.#fullscreen.hidden = !document.fullscreenEnabled; // an iPhone has no full screen
    document.addEventListener("fullscreenchange", () => {
      const on = Boolean(document.fullscreenElement);
      this.#fullscreen.setAttribute("aria-pressed", String(on));
      inside(this.#fullscreen, "use").setAttribute("href", on ? "#i-shrink" : "#i-expand");
    });
  }

  /** @param {boolean} online @param {string} state */
  show(online, state) {
    const running = online && (state === "live" || state === "paused");
    this.paused = state === "paused";
    this.#pause.disabled = this.#snapshot.disabled = this.#record.disabled = !running;
    this.#take.disabled = !(running || (online && state === "opening"));
    this.#pause.setAttribute("aria-pressed", String(this.paused));
    setText(this.#pause.querySelector(".label"), this.paused ? "Continue" : "Pause");
    inside(this.#pause, "use").setAttribute("href", this.paused ? "#i-play" : "#i-pause");
  }

  togglePause() {
    if (!this.#pause.disabled) this.#hooks.send({ type: this.paused ? "resume" : "pause" });
  }

  toggleRecord() {
    if (!this.#record.disabled) this.#hooks.send({ type: "record", on: !this.recording });
  }

  async toggleFullscreen() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await byId("scene").requestFullscreen();
    } catch {
      toast("The browser did not allow full screen.", { tone: "bad" });
    }
  }

  async snapshot() {
    const [session, frame] = [this.#hooks.session(), this.#hooks.frame()];
    if (this.#snapshot.disabled || !session || frame === null) return;
    this.#hooks.flash();
    try {
      save(await api.snapshot(session, frame), `quickchange-${frame}.png`);
      announce("Snapshot saved");
    } catch (error) {
      toast(`The snapshot failed. ${errorText(error)}`, { tone: "bad" });
    }
  }

  /** @param {import("../net/protocol.js").Recording} message */
  recorded(message) {
    const ended = this.recording && !message.on;
    this.recording = message.on;
    this.#recordedSince = performance.now() - message.seconds * 1000;
    this.#record.setAttribute("aria-pressed", String(message.on));
    setText(this.#record.querySelector(".label"), message.on ? "Stop" : "Record");
    byId("rec").hidden = !message.on;
    clearInterval(this.#timer);
    if (message.on) {
      this.#tick();
      this.#timer = setInterval(() => this.#tick(), 250);
      announce("Recording");
    }
    // Only a path on this server may become a link.
    if (message.url?.startsWith("/") && !message.url.startsWith("//")) {
      const link = el("a", { className: "button", href: message.url, download: "quickchange.mp4" }, icon("save"), "Save MP4");
      const text = `The recording is ready (${clockTime(message.seconds)}). The server keeps it until this session ends.`;
      toast(text, { action: link, stays: true });
    } else if (ended) announce("Recording ended");
  }

  #tick() {
    setText(byId("rec-time"), clockTime((performance.now() - this.#recordedSince) / 1000));
  }
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
