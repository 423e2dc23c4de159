// @ts-check
/**
 * The overlay on a picture that does not move, and the status light in the header. This is the one place that turns the
 * connection's phase and the session's state into words. The picture stays visible below the overlay.
 */
import { byId, icon, setText } from "./dom.js";
import { sentence } from "./text.js";
import { announce } from "./toast.js";

/** @typedef {import("../net/connection.js").Phase} Phase */
/** @typedef {{tone: string, label: string, title?: string, detail?: string, icon?: string, action?: string,
 *   run?: () => void, spin?: boolean, soft?: boolean, clear?: boolean}} View
 *   soft: a small label only; clear: the picture stays bright
 */

export class Overlay {
  #box = byId("overlay");
  #title = byId("overlay-title");
  #detail = byId("overlay-detail");
  #button = byId("overlay-action");
  #phase = byId("phase");
  /** @type {View | null} */
  #view = null;
  #since = performance.now();
  #said = "";
  #acts;
  /** @type {{phase: Phase, state: string, problem: import("../net/protocol.js").Problem | null}} */
  #now = {
    phase: { name: "connecting", title: "", detail: "", retryAt: null, attempt: 0 },
    state: "new",
    problem: null,
  };

  /** @param {{resume(): void, connect(): void, startOver(): void, reload(): void}} acts */
  constructor(acts) {
    this.#acts = acts;
    this.#button.addEventListener("click", () => this.#view?.run?.());
    setInterval(() => this.#now.phase.name !== "online" && this.show(), 500); // updates the countdowns
  }

  /** @param {Partial<{phase: Phase, state: string, problem: import("../net/protocol.js").Problem | null}>} [change] */
  show(change = {}) {
    if (change.phase && change.phase.name !== this.#now.phase.name) this.#since = performance.now();
    Object.assign(this.#now, change);
    const view = this.#choose();
    const fresh = view.title !== this.#view?.title || view.action !== this.#view?.action;
    this.#view = view;
    this.#phase.dataset.tone = view.tone;
    setText(this.#phase.lastElementChild, view.label);
    this.#box.hidden = !view.title;
    this.#box.dataset.soft = String(Boolean(view.soft));
    this.#box.dataset.clear = String(Boolean(view.clear));
    this.#box.dataset.spin = String(Boolean(view.spin));
    byId("frame").dataset.frozen = String(Boolean(view.title) && !view.soft && !view.clear);
    setText(this.#title, view.title ?? "");
    setText(this.#detail, view.detail ?? "");
    this.#detail.hidden = !view.detail;
    this.#button.hidden = !view.action;
    if (fresh) this.#button.replaceChildren(...(view.icon ? [icon(view.icon)] : []), view.action ?? "");
    if (view.label !== this.#said) {
      if (this.#said) announce(view.title || view.label);
      this.#said = view.label;
    }
  }

  /** @returns {View} */
  #choose() {
    const { phase, state, problem } = this.#now;
    const acts = this.#acts;
    const left = phase.retryAt === null ? 0 : Math.max(0, Math.ceil((phase.retryAt - performance.now()) / 1000));
    const waited = Math.round((performance.now() - this.#since) / 1000);
    switch (phase.name) {
      case "connecting":
        return { tone: "wait", label: "Connecting", title: "Connecting", spin: true, soft: true };
      case "warming":
        return {
          tone: "wait", label: "Warming up", title: "Warming up the model", spin: true,
          detail: "The server runs everything once, including a change of clothes, so that your first click is fast. " +
            `${waited} s so far; the show starts by itself.`,
        };
      case "busy":
        return {
          tone: "wait", label: "All places taken", title: "The house is full", icon: "again", action: "Try now",
          run: acts.connect, detail: `${sentence(phase.detail)} Next try in ${left} s.`,
        };
      case "reconnecting":
        return {
          tone: "bad", label: "Reconnecting", title: "Reconnecting", spin: true, soft: phase.attempt < 2,
          ...(phase.attempt < 3 ? {} : {
            detail: "The server does not answer. It keeps a session for about half a minute; after that, a new one starts.",
            icon: "again", action: "Try now", run: acts.connect,
          }),
        };
      case "refused":
        return {
          tone: "bad", label: "Not signed in", title: sentence(phase.title || "Not signed in").slice(0, -1),
          icon: "again", action: "Reload", detail: sentence(phase.detail), run: acts.reload,
        };
      case "elsewhere":
        return {
          tone: "idle", label: "Open elsewhere", title: "Open in another tab", icon: "play", action: "Bring it here",
          detail: "This stream has moved to another tab or window.", run: acts.connect,
        };
      case "ended":
        return {
          tone: "bad", label: "Ended", title: sentence(phase.title || "The session has ended").slice(0, -1),
          detail: sentence(phase.detail), icon: "again", action: "Start again", run: acts.startOver,
        };
    }
    switch (state) {
      case "paused":
        return {
          tone: "idle", label: "Paused", title: "Paused", icon: "play", action: "Continue", run: acts.resume, clear: true,
        };
      case "error":
      case "closed":
        return {
          tone: "bad", label: "Stopped", title: sentence(problem?.title ?? "The stream has stopped").slice(0, -1),
          detail: sentence(problem?.detail ?? "The server could not continue this stream."), icon: "again",
          action: "Start again", run: acts.startOver,
        };
      case "live":
        return { tone: "live", label: "Live" };
      default:
        return { tone: "wait", label: "Setting the scene", title: "Setting the scene", spin: true, soft: true };
    }
  }
}
