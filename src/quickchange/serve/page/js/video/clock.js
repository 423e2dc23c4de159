// @ts-check
/**
 * Computes when a frame is due on this page's clock. The server sends each frame when it is due. The fastest frame of
 * the last seconds therefore gives the offset between the two clocks. The other frames take longer: that is jitter,
 * which the delay covers.
 */

const MEMORY_MS = 5000;
const LEAST_DELAY = 15;
const MOST_DELAY = 150;
const COVERED = 0.95; // share of frames that are on time with this delay
const LATE_MS = 400; // more than jitter: the server's clock stood still in the meantime
const EASE = 0.02; // the delay grows at once and shrinks slowly: a frozen picture is worse than 20 ms of delay

export class PlayoutClock {
  /** @type {{at: number, lag: number}[]} */
  #arrivals = [];
  /** @type {number[]} */
  #waits = [];
  #offset = 0;
  #late = 0;
  delay = LEAST_DELAY;

  /** Forgets the offset (after a pause, a cut or a new socket) and keeps the measured jitter. */
  reset() {
    this.#arrivals = [];
    this.#late = 0;
  }

  /**
   * @param {number} mediaMs
   * @param {number} now
   */
  arrived(mediaMs, now) {
    const lag = now - mediaMs;
    this.#late = this.#arrivals.length && lag > this.#offset + LATE_MS ? this.#late + 1 : 0;
    if (this.#late > 3) this.reset();
    this.#arrivals.push({ at: now, lag });
    while (this.#arrivals[0].at < now - MEMORY_MS) this.#arrivals.shift();
    this.#offset = Math.min(...this.#arrivals.map((arrival) => arrival.lag));
  }

  /**
   * A frame is decoded. Decoding time counts as jitter too.
   * @param {number} mediaMs
   * @param {number} now
   */
  ready(mediaMs, now) {
    this.#waits.push(Math.max(0, now - mediaMs - this.#offset));
    if (this.#waits.length > 120) this.#waits.shift();
    const sorted = [...this.#waits].sort((a, b) => a - b);
    const wanted = sorted[Math.floor((sorted.length - 1) * COVERED)] + 2;
    const next = wanted > this.delay ? wanted : this.delay + (wanted - this.delay) * EASE;
    this.delay = Math.min(MOST_DELAY, Math.max(LEAST_DELAY, next));
  }

  /** @param {number} mediaMs */
  due(mediaMs) {
    return mediaMs + this.#offset + this.delay;
  }
}
