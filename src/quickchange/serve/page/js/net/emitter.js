// @ts-check
/**
 * Named events with one payload each.
 *
 * @template {Record<string, any>} Events payload of every event
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(payload: any) => void>>} */
  #listeners = new Map();

  /**
   * @template {keyof Events} Type
   * @param {Type} type
   * @param {(payload: Events[Type]) => void} listener
   */
  on(type, listener) {
    const known = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, known.add(listener));
  }

  /**
   * @template {keyof Events} Type
   * @param {Type} type
   * @param {Events[Type]} payload
   */
  emit(type, payload) {
    for (const listener of this.#listeners.get(type) ?? []) listener(payload);
  }
}
