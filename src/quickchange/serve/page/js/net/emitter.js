// @ts-check
/** Named events with one payload each; EventTarget without the ceremony. */
export class Emitter {
  /** @type {Map<string, Set<(payload: any) => void>>} */
  #listeners = new Map();

  /**
   * @param {string} type
   * @param {(payload: any) => void} listener
   */
  on(type, listener) {
    const known = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, known.add(listener));
  }

  /**
   * @param {string} type
   * @param {any} [payload]
   */
  emit(type, payload) {
    for (const listener of this.#listeners.get(type) ?? []) listener(payload);
  }
}
