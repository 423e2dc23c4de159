// @ts-check
/**
 * The socket to the server, with all its cases: warming up, busy, lost, resumed, refused.
 *
 * Events: `phase` (see Phase), `lost` (the session could not be resumed; a new one follows), `frame` (an ArrayBuffer),
 * and every message of the server under its own type.
 *
 * @typedef {import("./protocol.js").Video["codec"]} Codec
 * @typedef {"connecting" | "warming" | "online" | "reconnecting" | "busy" | "refused" | "elsewhere" |
 *   "ended"} PhaseName
 * @typedef {{name: PhaseName, detail: string, title: string, retryAt: number | null, attempt: number}} Phase
 * @typedef {{get(key: string): any, set(key: string, value: unknown): void}} Store where the session's token is kept
 * @typedef {import("./protocol.js").ToViewer} ToViewer
 * @typedef {{[T in ToViewer["type"]]: Extract<ToViewer, {type: T}>} & {phase: Phase, lost: undefined,
 *   frame: ArrayBuffer}} Events
 */
import { readiness } from "./api.js";
import { Emitter } from "./emitter.js";
import { VERSION } from "./header.js";

const FIRST_MS = 250;
const LONGEST_MS = 5000;
const POLL_MS = 1000;
const HELLO_MS = 10_000;
const SILENCE_MS = 8000; // a live stream sends something every second; after this long silence the connection is dead
const DROPPED = 4000;
const TAKEN_OVER = 4001; // by another tab with the same token; taking it back unasked would make the tabs fight forever

/** @extends {Emitter<Events>} */
export class Connection extends Emitter {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Codec[]} */
  #codecs;
  #timer = 0;
  #heard = 0;
  /** @type {import("./protocol.js").Problem | null} */
  #fatal = null;
  #greeted = false;
  /** @type {string | null} */
  token;
  resumes = 0;
  /** @type {Phase} */
  phase = { name: "connecting", title: "", detail: "", retryAt: null, attempt: 0 };

  #store;

  /** @param {Codec[]} codecs that this browser decodes, best first @param {Store} store */
  constructor(codecs, store) {
    super();
    this.#store = store;
    this.token = store.get("session");
    this.#codecs = codecs;
    addEventListener("online", () => this.phase.name === "reconnecting" && this.connect());
  }

  get online() {
    return this.phase.name === "online";
  }

  /** @param {import("./protocol.js").FromViewer} message @returns {boolean} whether it was sent */
  send(message) {
    if (!this.online || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Connects now and cancels any planned attempt. */
  connect() {
    clearTimeout(this.#timer);
    this.#abandon();
    this.#fatal = null;
    this.#greeted = false;
    const url = new URL("/v1/stream", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timer = setTimeout(() => socket === this.#socket && this.#closed(), HELLO_MS);
    socket.onopen = () => {
      const resume = this.token ? { resume: this.token } : {};
      socket.send(JSON.stringify({ type: "hello", version: VERSION, codecs: this.#codecs, ...resume }));
    };
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  /** Reconnects with JPEG only, because decoding keeps failing. */
  fallBackToJpeg() {
    this.#codecs = ["jpeg"];
    this.connect();
  }

  get codecs() {
    return this.#codecs;
  }

  /** Closes the session and starts a new one. */
  startOver() {
    this.send({ type: "close" });
    this.forget();
    this.#set("connecting");
    this.connect();
  }

  forget() {
    this.token = null;
    this.#store.set("session", null);
  }

  /** For tests: drops the socket without notice. */
  drop() {
    this.#socket?.close(DROPPED);
  }

  /** Called once a second. @param {boolean} expectant whether the server should be sending */
  watch(expectant) {
    if (!expectant) this.#heard = performance.now();
    else if (this.online && performance.now() - this.#heard > SILENCE_MS) this.#closed();
  }

  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close(DROPPED);
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") return this.emit("frame", data);
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // not a message of the protocol
    }
    if (message.type === "welcome") this.#welcome(message);
    else if (message.type === "problem" && message.fatal) {
      this.#fatal = message.problem;
      if (this.online) this.emit("problem", message);
    } else this.emit(message.type, message);
  }

  /** @param {import("./protocol.js").Welcome} welcome */
  #welcome(welcome) {
    clearTimeout(this.#timer);
    this.#greeted = true;
    this.token = welcome.session;
    this.#store.set("session", welcome.session);
    if (welcome.resumed) this.resumes += 1;
    this.#set("online");
    this.emit("welcome", welcome);
  }

  /** @param {number} [code] */
  #closed(code) {
    clearTimeout(this.#timer);
    this.#abandon();
    if (code === TAKEN_OVER) return this.#set("elsewhere");
    const problem = this.#fatal;
    const kind = problem?.type.split(":").pop() ?? "";
    if (kind === "unknown-session") {
      this.forget();
      this.emit("lost", undefined);
      return this.connect();
    }
    if (problem && (kind === "busy" || (problem.status === 503 && kind !== "warming-up" && problem.retry_after))) {
      return this.#busy((problem.retry_after ?? 5) * 1000, problem);
    }
    if (problem && problem.status !== 503) {
      this.forget();
      const name = problem.status === 401 || problem.status === 403 ? "refused" : "ended";
      return this.#set(name, { title: problem.title, detail: problem.detail });
    }
    if (this.#greeted) return this.#retry();
    this.#probe();
  }

  /**
   * Asks why the handshake was refused; the browser does not tell. While the model warms up, asks again and opens no
   * socket.
   */
  async #probe() {
    const answer = await readiness();
    if (this.#socket) return; // connected in the meantime
    if (answer === "warming") {
      if (this.phase.name !== "warming") this.#set("warming");
      this.#timer = setTimeout(() => this.#probe(), POLL_MS);
    } else if (typeof answer === "object") {
      this.#set("refused", { title: answer.title, detail: answer.detail });
    } else if (this.phase.name === "warming" && answer === "ready") this.connect();
    else this.#retry();
  }

  #retry() {
    const attempt = this.phase.name === "reconnecting" ? this.phase.attempt + 1 : 1;
    const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** (attempt - 1)) * (0.75 + Math.random() / 4);
    this.#set("reconnecting", { attempt, retryAt: performance.now() + wait });
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  /** @param {number} wait @param {import("./protocol.js").Problem} problem */
  #busy(wait, { title, detail }) {
    this.#set("busy", { title, detail, retryAt: performance.now() + wait });
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  /**
   * @param {PhaseName} name
   * @param {Partial<Phase>} [more]
   */
  #set(name, more = {}) {
    this.phase = { name, title: "", detail: "", retryAt: null, attempt: 0, ...more };
    this.emit("phase", this.phase);
  }
}
