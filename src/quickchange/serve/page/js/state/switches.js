// @ts-check
/**
 * Follows every control from the click to the first picture that obeys it. Of each kind the latest wins, and the older
 * ones are forgotten at once. Each time goes to the server once. A pause, a hidden tab or a lost socket stretches a
 * time; such a time does not measure speed, so the server does not get it.
 *
 * @typedef {"wear" | "say" | "person" | "take"} ControlKind
 * @typedef {{wear: import("../net/api.js").Garment, say: string, person: import("../net/api.js").PersonInfo,
 *   take: null}} Targets
 * @typedef {{[Kind in ControlKind]: {id: number, kind: Kind, target: Targets[Kind], start: number,
 *   sequence: number | null, stretched: boolean}}[ControlKind]} Pending
 * @typedef {import("../net/protocol.js").FromViewer} FromViewer
 */
export class Switches {
  /** @type {Map<ControlKind, Pending>} */
  #pending = new Map();
  /** @type {{sequence: number, ms: number}[]} */
  #unsent = [];
  #id = 0;
  #obeyed = 0;
  #onshown;

  /** @param {(done: Pending, ms: number | null) => void} onshown ms is null where the time was stretched */
  constructor(onshown) {
    this.#onshown = onshown;
  }

  /**
   * @template {ControlKind} Kind
   * @param {Kind} kind
   * @param {Targets[Kind]} target
   * @param {number} start time of the click, on performance.now()'s clock
   * @param {boolean} stretched whether the time is stretched from the start, for example because the stream is paused
   */
  begin(kind, target, start, stretched) {
    const pending = /** @type {Pending} */ ({ id: ++this.#id, kind, target, start, sequence: null, stretched });
    this.#pending.set(kind, pending);
    return pending;
  }

  /** @param {ControlKind} kind */
  pending(kind) {
    return this.#pending.get(kind) ?? null;
  }

  /** @param {import("../net/protocol.js").Accepted} message */
  accepted(message) {
    for (const pending of this.#pending.values()) {
      if (pending.id === message.id) this.settle(pending, message.sequence);
    }
  }

  /**
   * The sequence of a pending control is known.
   * @param {Pending} pending
   * @param {number} sequence
   */
  settle(pending, sequence) {
    pending.sequence = sequence;
    if (this.#obeyed >= sequence) this.displayed(this.#obeyed, performance.now());
  }

  /** The server refused a control. @param {number} id */
  refused(id) {
    for (const [kind, pending] of this.#pending) {
      if (pending.id !== id) continue;
      this.#pending.delete(kind);
      return pending;
    }
    return null;
  }

  /** The pending controls take longer for a reason other than speed. */
  stretch() {
    for (const pending of this.#pending.values()) pending.stretched = true;
  }

  /**
   * The session continues on a new socket. What the server already knows is settled with its last sequence id.
   * @param {import("../net/protocol.js").Welcome} welcome
   * @returns {FromViewer[]} the messages to send again
   */
  resumed(welcome) {
    /** @type {FromViewer[]} */
    const again = [];
    for (const pending of this.#pending.values()) {
      if (pending.sequence !== null) continue;
      const { id } = pending;
      if (pending.kind === "take") {
        this.#pending.delete("take"); // the server does not say whether it arrived, and nothing depends on it
      } else if (pending.kind === "say") {
        if (welcome.prompt === pending.target) this.settle(pending, welcome.sequence);
        else again.push({ type: "say", id, prompt: pending.target });
      } else if (pending.kind === "wear") {
        if (welcome.wearing === pending.target.id) this.settle(pending, welcome.sequence);
        else again.push({ type: "wear", id, garment: pending.target.id });
      } else if (welcome.person === pending.target.id) this.settle(pending, welcome.sequence);
      else again.push({ type: "person", id, person: pending.target.id });
    }
    return again;
  }

  /** Another stream starts: sequence ids begin at 0 again. */
  clear() {
    this.#pending.clear();
    this.#unsent = [];
    this.#obeyed = 0;
  }

  /**
   * A frame was drawn.
   * @param {number} obeys
   * @param {number} now
   * @returns {boolean} whether it was the first frame to obey some control
   */
  displayed(obeys, now) {
    this.#obeyed = obeys;
    let any = false;
    for (const [kind, pending] of this.#pending) {
      if (pending.sequence === null || pending.sequence > obeys) continue;
      this.#pending.delete(kind);
      const ms = pending.stretched ? null : Math.max(0, now - pending.start);
      if (ms !== null && pending.sequence >= 1) this.#unsent.push({ sequence: pending.sequence, ms });
      this.#onshown(pending, ms);
      any = true;
    }
    return any;
  }

  /** Returns the times that the server does not have yet, at most 16, and removes them. */
  drain() {
    const times = this.#unsent.splice(0, 16);
    return times.map(({ sequence, ms }) => ({ sequence, ms: Math.min(600_000, Math.round(ms * 10) / 10) }));
  }
}
