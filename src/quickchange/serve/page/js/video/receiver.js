// @ts-check
/** Unpacks and decodes binary messages for the player, and rebuilds the decoder after an error. */
import { createDecoder } from "./decoder.js";
import { unpack } from "../net/header.js";
import { Player } from "./player.js";

/** @typedef {import("./decoder.js").Decoder} Decoder */
/** @typedef {import("../net/protocol.js").Video} Video */

const MOST_ERRORS = 3;
const FORGIVEN_MS = 15_000;

export class Receiver {
  /** @type {Decoder | null} */
  #decoder = null;
  /** @type {Video | null} */
  #video = null;
  /** @type {number[]} */
  #errors = [];
  #player;
  #hooks;

  /**
   * @param {{draw(picture: import("./decoder.js").Picture): void,
   *   onshow(header: import("../net/header.js").FrameHeader, now: number): void, onack(frame: number): void, onneedkey(): void, onbroken(): void}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#player = new Player(hooks);
  }

  get codec() {
    return this.#video?.codec ?? null;
  }
  get shown() {
    return this.#player.shown;
  }
  get rate() {
    return this.#player.rate;
  }
  get skipped() {
    return this.#player.skipped;
  }
  get delay() {
    return this.#player.delay;
  }

  /** @param {Video} video */
  describe(video) {
    this.#video = video;
    this.#rebuild();
  }

  /** @param {ArrayBuffer} message */
  receive(message) {
    const frame = unpack(message, performance.now());
    if (!frame) return;
    this.#player.arrived(frame.header);
    this.#decoder?.push(frame.header, frame.data);
  }

  ack() {
    this.#player.ack();
  }

  rebase() {
    this.#player.rebase();
  }

  /** Another stream starts. */
  restart() {
    this.#player.restart();
  }

  /** The socket is gone. Frames that are still being decoded belong to it and are dropped. */
  disconnect() {
    this.#decoder?.close();
    this.#decoder = null;
    this.#player.rebase();
  }

  #rebuild() {
    this.#decoder?.close();
    this.#decoder = null;
    if (!this.#video) return;
    try {
      const decoder = createDecoder(this.#video, {
        onpicture: (picture, header) =>
          decoder === this.#decoder ? this.#player.push(picture, header) : picture.close(),
        onerror: () => decoder === this.#decoder && this.#failed(),
        onneedkey: () => this.#hooks.onneedkey(),
      });
      this.#decoder = decoder;
    } catch {
      this.#failed(); // configure() failed; it counts like any other error
    }
  }

  #failed() {
    const now = performance.now();
    this.#errors = [...this.#errors.filter((at) => at > now - FORGIVEN_MS), now];
    if (this.#errors.length >= MOST_ERRORS && this.codec !== "jpeg") {
      this.#errors = [];
      this.disconnect();
      this.#hooks.onbroken();
      return;
    }
    if (this.codec === "jpeg") return; // one bad picture; the next one does not depend on it
    // With a pause, because a decoder that fails in configure() would be rebuilt in a tight loop.
    setTimeout(() => this.#rebuild(), 50 * this.#errors.length);
    this.#hooks.onneedkey();
  }
}
