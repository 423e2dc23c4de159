// @ts-check
/**
 * Shows decoded pictures: a bounded jitter buffer that requestAnimationFrame draws from. A picture counts as shown, and
 * is acknowledged, when the callback has drawn it. A hidden tab runs no callbacks, so it acknowledges nothing.
 *
 * @typedef {import("../net/header.js").FrameHeader} FrameHeader
 * @typedef {import("./decoder.js").Picture} Picture
 */
import { PlayoutClock } from "./clock.js";

const MOST_QUEUED = 16;
const ACK_FRAMES = 6;
const ACK_MS = 180; // the server expects one at least every 250 ms
const RATE_MS = 2000;
const EARLY_MS = 4; // what is drawn now reaches the screen with the next refresh

export class Player {
  /** @type {{picture: Picture, header: FrameHeader}[]} */
  #queue = [];
  #clock = new PlayoutClock();
  /** @type {number[]} */
  #drawn = [];
  #running = false;
  #newest = -1; // newest epoch that has arrived
  #shownEpoch = -1;
  #unacked = 0;
  #ackedAt = 0;
  #draw;
  #onshow;
  #onack;
  /** @type {FrameHeader | null} */
  shown = null;
  skipped = 0;

  /**
   * @param {{draw(picture: Picture): void, onshow(header: FrameHeader, now: number): void,
   *   onack(frame: number): void}} hooks
   */
  constructor({ draw, onshow, onack }) {
    this.#draw = draw;
    this.#onshow = onshow;
    this.#onack = onack;
  }

  /** Another stream starts: epochs and numbers begin again. */
  restart() {
    this.#clear(() => true);
    this.#newest = this.#shownEpoch = -1;
    this.shown = null;
    this.#unacked = 0;
    this.rebase();
  }

  /** The stream's clock stood still, or the connection changed. */
  rebase() {
    this.#clock.reset();
  }

  /**
   * A frame has arrived and is not decoded yet. A newer epoch voids all queued frames at once.
   * @param {FrameHeader} header
   */
  arrived(header) {
    if (header.epoch > this.#newest) {
      this.#newest = header.epoch;
      this.#clear((queued) => queued.epoch < header.epoch);
      this.rebase();
    }
    this.#clock.arrived(header.mediaMs, header.arrived);
  }

  /**
   * @param {Picture} picture
   * @param {FrameHeader} header
   */
  push(picture, header) {
    if (header.epoch < this.#newest) return picture.close();
    this.#clock.ready(header.mediaMs, performance.now());
    this.#queue.push({ picture, header });
    while (this.#queue.length > MOST_QUEUED) {
      this.#queue.shift()?.picture.close();
      this.skipped += 1;
    }
    this.#run();
  }

  /** Frames drawn per second, over the last two seconds. */
  get rate() {
    const now = performance.now();
    while (this.#drawn.length && this.#drawn[0] < now - RATE_MS) this.#drawn.shift();
    return this.#drawn.length / (RATE_MS / 1000);
  }

  get delay() {
    return this.#clock.delay;
  }

  /** Acknowledges now, so that the switch times in the message do not wait. */
  ack() {
    if (!this.shown) return;
    this.#unacked = 0;
    this.#ackedAt = performance.now();
    this.#onack(this.shown.number);
  }

  /** @param {(header: FrameHeader) => boolean} void_ */
  #clear(void_) {
    this.#queue = this.#queue.filter(({ picture, header }) => {
      if (void_(header)) picture.close();
      return !void_(header);
    });
  }

  #run() {
    if (this.#running) return;
    this.#running = true;
    requestAnimationFrame(() => this.#tick());
  }

  #tick() {
    this.#running = false;
    const now = performance.now();
    let due = -1;
    this.#queue.forEach(({ header }, index) => {
      if (header.epoch > this.#shownEpoch || this.#clock.due(header.mediaMs) <= now + EARLY_MS) due = index;
    });
    if (due >= 0) this.#show(due);
    const since = performance.now() - this.#ackedAt;
    if (this.#unacked >= ACK_FRAMES || (this.#unacked && since >= ACK_MS)) this.ack();
    if (this.#queue.length || this.#unacked) this.#run();
  }

  /** @param {number} index */
  #show(index) {
    // The first frame of a new epoch is shown even if a second one is due: it is the answer to the click.
    const fresh = this.#queue.findIndex(({ header }) => header.epoch > this.#shownEpoch);
    const at = fresh >= 0 ? fresh : index;
    const passed = this.#queue.splice(0, at + 1);
    const { picture, header } = /** @type {{picture: Picture, header: FrameHeader}} */ (passed.pop());
    for (const late of passed) late.picture.close();
    this.skipped += passed.length;
    this.#draw(picture);
    picture.close();
    const now = performance.now();
    this.shown = header;
    this.#shownEpoch = header.epoch;
    this.#unacked += 1;
    this.#drawn.push(now);
    if (this.#drawn.length > 400) this.#drawn.shift();
    this.#onshow(header, now);
  }
}
