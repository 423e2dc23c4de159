// @ts-check
/** Announces what has reached the screen: on the tiles, on the picture, in the timing panel and to screen readers. */
import { milliseconds } from "./text.js";
import { announce } from "./toast.js";

export class Announcements {
  #parts;
  take = 1;

  /**
   * @param {{stage: import("./stage.js").Stage, rack: import("./rack.js").Rack, people: import("./people.js").People,
   *   prompt: import("./prompt.js").Prompt, timing: import("./timing.js").Timing}} parts
   */
  constructor(parts) {
    this.#parts = parts;
  }

  /**
   * A control has reached the screen.
   * @param {import("../state/switches.js").Pending} done
   * @param {number | null} ms null where the time is not a measure of speed
   * @param {boolean} more whether another garment or person is pending
   */
  inForce(done, ms, more) {
    const { rack, people, prompt, stage, timing } = this.#parts;
    const { kind, target } = done;
    const name = kind === "take" ? `Take ${this.take}` : kind === "say" ? "Direction" : target.name;
    const time = ms === null ? "" : milliseconds(ms);
    if (kind === "wear") rack.setOn(target.id, ms);
    else if (kind === "person") people.setOn(target.id);
    else if (kind === "say") prompt.shown(ms);
    if (kind === "wear" && ms !== null) timing.add(ms, name);
    if (kind !== "say" && !more) stage.caption("on", time ? `${name} · ${time}` : name);
    announce(time ? `${name} is on, ${time}` : `${name} is on`);
    this.#describe();
  }

  /**
   * The first picture of a stream is shown. It shows what the stream was opened with, unless something newer is
   * pending.
   * @param {{wear: boolean, person: boolean}} waiting
   */
  opened(waiting) {
    const { rack, people, stage } = this.#parts;
    if (rack.next && !waiting.wear) rack.setOn(rack.next, null);
    if (people.next && !waiting.person) people.setOn(people.next);
    if (!rack.next && !people.next) stage.clearCaption();
    this.#describe();
  }

  /** @param {number | null} seed */
  label(seed) {
    this.#parts.stage.label(`Take ${this.take}${seed === null ? "" : ` · seed ${seed}`}`);
  }

  #describe() {
    const { rack, people, stage } = this.#parts;
    const [garment, person] = [rack.find(rack.on ?? ""), people.find(people.on ?? "")];
    stage.describe(`Generated video of ${person?.name ?? "a person"} wearing ${garment?.name ?? "clothes"}`);
  }
}
