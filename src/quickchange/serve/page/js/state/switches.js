// @ts-check
/**
 * Follows every control from the click to the first picture that obeys it. Of each kind the latest wins: what it
 * supersedes is forgotten at once. Times go to the server once each; a time that a pause, a hidden tab or a lost socket
 * has stretched says nothing about speed and is not told.
 *
 * @typedef {"wear" | "say" | "person" | "take"} ControlKind
 * @typedef {{wear: import("../net/api.js").Garment, say: string, person: import("../net/api.js").PersonInfo, take: null}} Targets
 * @typedef {{[Kind in ControlKind]: {id: number, kind: Kind, target: Targets[Kind], start: number,
 *   sequence: number | null, stretched: boolean}}[ControlKind]} Pending
 * @typedef {import("../net/protocol.js").FromViewer} FromViewer
 */
export class Switches {
  /** @type {Map<ControlKind, Pending>} */
  #pending = new Map();
  /** @type {{sequence: number, ms: number}[]} */
  #untold = [];
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
   * @param {boolean} stretched known from the start, e.g. because the stream is paused
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

  /** The server could not do it. @param {number} id */
  refused(id) {
    for (const [kind, pending] of this.#pending) {
      if (pending.id !== id) continue;
      this.#pending.delete(kind);
      return pending;
    }
    return null;
  }

  /** Something other than the machine's speed makes what is pending take longer. */
  stretch() {
    for (const pending of this.#pending.values()) pending.stretched = true;
  }

  /**
   * The same session at a new socket. What it has taken in is settled with its last sequence id.
   * @param {import("../net/protocol.js").Welcome} welcome
   * @returns {FromViewer[]} what has to be said again
   */
  resumed(welcome) {
    /** @type {FromViewer[]} */
    const again = [];
    for (const pending of this.#pending.values()) {
      if (pending.sequence !== null) continue;
      const { id } = pending;
      if (pending.kind === "take") {
        this.#pending.delete("take"); // the server does not say whether it has arrived, and nobody waits for it
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

  /** Another stream: sequence numbers start over. */
  clear() {
    this.#pending.clear();
    this.#untold = [];
    this.#obeyed = 0;
  }

  /**
   * A frame has been drawn.
   * @param {number} obeys
   * @param {number} now
   * @returns {boolean} whether something came into force with it
   */
  displayed(obeys, now) {
    this.#obeyed = obeys;
    let any = false;
    for (const [kind, pending] of this.#pending) {
      if (pending.sequence === null || pending.sequence > obeys) continue;
      this.#pending.delete(kind);
      const ms = pending.stretched ? null : Math.max(0, now - pending.start);
      if (ms !== null && pending.sequence >= 1) this.#untold.push({ sequence: pending.sequence, ms });
      this.#onshown(pending, ms);
      any = true;
    }
    return any;
  }

  /** Times that have not been told yet; they are then. */
  drain() {
    const told = this.#untold.splice(0, 16);
    return told.map(({ sequence, ms }) => ({ sequence, ms: Math.min(600_000, Math.round(ms * 10) / 10) }));
  }
}
