// @ts-check
/**
 * Pictures to choose from. One of them is on (seen on the screen); another may be next (asked for, not seen yet).
 * The rack and the people are both such a list; they differ in how they draw it.
 *
 * @template {{id: string, name: string, image: string, own?: boolean}} Item
 */
export class Choices {
  /** What the server offers. @type {Item[]} @protected */
  bundled = [];
  /** The viewer's own, the oldest first. @type {Item[]} @protected */
  own = [];
  /** @type {string | null} */
  #on = null;
  /** @type {string | null} */
  #next = null;

  /** The id of the item on the screen. */
  get on() {
    return this.#on;
  }

  /** The id of the item that was asked for. */
  get next() {
    return this.#next;
  }

  /** All items in the order of the list: the viewer's own come first, the newest at the front. */
  get items() {
    return [...[...this.own].reverse(), ...this.bundled];
  }

  /** The first item of the server. @returns {Item | null} */
  get first() {
    return this.bundled[0] ?? null;
  }

  /** @param {string} id */
  find(id) {
    return this.items.find((item) => item.id === id) ?? null;
  }

  /** Replaces what the server offers; the viewer's own stay. @param {Item[]} items */
  fill(items) {
    this.bundled = items;
    this.build();
  }

  /** Adds one of the viewer's own. @param {Item} item */
  add(item) {
    this.own = [...this.own.filter((known) => known.id !== item.id), item];
    this.build();
  }

  /** Uploads vanish with their session. */
  removeOwn() {
    this.own = [];
    this.build();
  }

  /** @param {string | null} id */
  setNext(id) {
    this.#next = id;
    this.mark();
  }

  /** @param {string | null} id */
  setOn(id) {
    this.#on = id;
    if (this.#next === id) this.#next = null;
    this.mark();
  }

  /** @param {string | undefined} id @returns {"next" | "on" | "idle"} */
  stateOf(id) {
    return id === this.#next ? "next" : id === this.#on ? "on" : "idle";
  }

  /** Draws all tiles anew. @protected */
  build() {}

  /** Shows on the tiles which one is on and which is next. @protected */
  mark() {}
}
