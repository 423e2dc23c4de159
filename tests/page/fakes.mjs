/** Stand-ins for the browser. */

/** A Storage in memory. */
export class FakeStorage {
  items = new Map();

  getItem(key) {
    return this.items.get(key) ?? null;
  }

  setItem(key, value) {
    this.items.set(key, String(value));
  }

  removeItem(key) {
    this.items.delete(key);
  }
}

/** A picture that knows whether it was closed. */
export class FakePicture {
  closed = false;

  close() {
    this.closed = true;
  }
}

/** The clock of performance.now() and the queue of requestAnimationFrame, both moved by hand. */
export class FakeScreen {
  now = 0;
  #waiting = [];

  /** Puts itself in the place of the browser's functions; returns a function that undoes it. */
  install() {
    const kept = { now: performance.now, frame: globalThis.requestAnimationFrame };
    performance.now = () => this.now;
    globalThis.requestAnimationFrame = (callback) => this.#waiting.push(callback);
    return () => {
      performance.now = kept.now;
      globalThis.requestAnimationFrame = kept.frame;
    };
  }

  /** The screen refreshes at this time. */
  refresh(now) {
    this.now = now;
    for (const callback of this.#waiting.splice(0)) callback(now);
  }
}

/** The header of a frame; frames are 40 ms apart. */
export function header(number, { obeys = 0, epoch = 0, key = false, cut = false, arrived = number * 40 } = {}) {
  return { number, obeys, epoch, mediaMs: number * 40, key, cut, arrived };
}
