// @ts-check
/**
 * What the viewer wants and what the screen shows: who is on stage, in what, doing what. Sends the controls, follows
 * them to the screen, and brings the wish across lost sockets, reloads and new sessions.
 */
import { announce, toast } from "./toast.js";
import { milliseconds } from "./dom.js";
import { tab } from "./storage.js";
import { Switches } from "./switches.js";

/** @typedef {import("./types.js").Garment} Garment */
/** @typedef {import("./types.js").PersonInfo} PersonInfo */
/** @typedef {import("./types.js").Upload} Upload */
/** @typedef {import("./types.js").SessionState} SessionState */

export class Director {
  /** @type {SessionState} */
  state = "new";
  /** @type {import("./types.js").ModelInfo | null} */
  model = null;
  /** @type {import("./types.js").Stats | null} */
  stats = null;
  /** @type {{garment: string, ms: number | null} | null} */
  lastSwitch = null;
  onstate = (/** @type {SessionState} */ _state) => {};
  #take = 1;
  #loaded = false;
  /** @type {import("./types.js").Welcome | null} */
  #welcome = null;
  /** @type {{garment: Garment | null, person: PersonInfo | null}} what is wished for, shown or not */
  #wish = { garment: null, person: null };
  #first = false; // the first picture of a stream is awaited
  #switches = new Switches((done, ms) => this.#inForce(done, ms));
  #parts;

  /** @param {{connection: any, receiver: any, stage: any, rack: any, people: any, prompt: any, timing: any}} parts */
  constructor(parts) {
    this.#parts = parts;
  }

  // -- controls -------------------------------------------------------------------------------------------------------

  /** @param {Garment} garment @param {number} start */
  wear(garment, start) {
    const { rack, stage } = this.#parts;
    if (this.#wish.garment?.id === garment.id) return; // on or on its way: asking again would only cost a cut
    this.#wish.garment = garment;
    rack.setNext(garment.id);
    stage.cue("next", garment.name);
    this.#control("wear", garment, { garment: garment.id }, start);
  }

  /** @param {PersonInfo} person @param {number} start */
  person(person, start) {
    const { people, stage } = this.#parts;
    if (this.#wish.person?.id === person.id) return;
    this.#wish.person = person;
    people.setNext(person.id);
    stage.cue("next", person.name);
    if (!stage.drawn) stage.still(person);
    this.#control("person", person, { person: person.id }, start);
  }

  /** @param {string} prompt @param {number} start */
  say(prompt, start) {
    this.#control("say", prompt, { prompt }, start);
  }

  /** @param {number} start */
  take(start) {
    if (!this.#running) return;
    this.#parts.stage.cue("next", `Take ${this.#take + 1}`);
    this.#control("take", null, {}, start);
  }

  /** @param {Upload} upload @param {string} name @param {number} start */
  wearUpload(upload, name, start) {
    const garment = { id: upload.id, name, kind: upload.kind ?? "top", image: upload.preview, own: true };
    this.#parts.rack.add(garment);
    remember(upload, name);
    this.wear(/** @type {Garment} */ (garment), start);
  }

  /** @param {Upload} upload @param {string} name @param {number} start */
  personUpload(upload, name, start) {
    const person = { id: upload.id, name, image: upload.preview, own: true };
    this.#parts.people.add(person);
    remember(upload, name);
    this.person(person, start);
  }

  /** Times to tell the server. */
  times() {
    return this.#switches.take();
  }

  /** Something but speed makes what is under way take longer. */
  stretched() {
    this.#switches.stretch();
  }

  get #running() {
    return ["opening", "live", "paused"].includes(this.state) && this.#parts.connection.online;
  }

  /**
   * @param {import("./switches.js").ControlKind} kind
   * @param {any} target
   * @param {object} fields
   * @param {number} start
   */
  #control(kind, target, fields, start) {
    const pending = this.#switches.begin(kind, target, start, this.state !== "live" || document.hidden);
    // Without a session the wish waits: it goes out with `open`, or once the socket is back.
    if (this.#running) this.#parts.connection.send({ type: kind, id: pending.id, ...fields });
  }

  // -- from the server ------------------------------------------------------------------------------------------------

  /** Garments and people are there. */
  loaded() {
    this.#loaded = true;
    if (this.#parts.connection.token) this.#recall();
    const { rack, people, stage } = this.#parts;
    this.#wish.garment ??= rack.first;
    this.#wish.person ??= people.first;
    if (this.#wish.person && !stage.drawn) stage.still(this.#wish.person);
    if (this.#welcome) this.#begin(this.#welcome);
  }

  /** @param {import("./types.js").Welcome} welcome */
  welcome(welcome) {
    this.model = welcome.model;
    this.#welcome = welcome;
    this.#parts.rack.trainedOn(welcome.model.kinds);
    if (this.#loaded) this.#begin(welcome);
  }

  /** @param {import("./types.js").Welcome} welcome */
  #begin(welcome) {
    this.#welcome = null;
    this.#change(welcome.state);
    if (welcome.state === "new") this.#open();
    else this.#goOn(welcome);
  }

  /** A fresh session: opens with what is wished for. */
  #open() {
    const { connection, receiver, rack, people, prompt, stage } = this.#parts;
    receiver.restart();
    this.#switches.clear();
    this.#take = 1;
    this.#first = true;
    this.#wish.garment ??= rack.first;
    this.#wish.person ??= people.first;
    const { garment, person } = this.#wish;
    if (!garment || !person) return;
    if (rack.on !== garment.id) rack.setNext(garment.id);
    if (people.on !== person.id) people.setNext(person.id);
    stage.slate("Take 1");
    connection.send({ type: "open", person: person.id, garment: garment.id, prompt: prompt.text });
  }

  /** The same session at a new socket: what it does not know yet is said again. @param {import("./types.js").Welcome} w */
  #goOn(w) {
    const { connection, rack, people, prompt, stage } = this.#parts;
    this.#first = !rack.on;
    const waiting = { wear: this.#switches.pending("wear"), person: this.#switches.pending("person") };
    const asked = this.#switches.pending("say");
    for (const pending of [waiting.wear, waiting.person, asked]) {
      if (!pending || pending.sequence !== null) continue;
      const field = /** @type {Record<string, string>} */ ({ wear: "garment", person: "person", say: "prompt" })[pending.kind];
      const value = pending.target.id ?? pending.target;
      const known = { wear: w.wearing, person: w.person, say: w.prompt, take: null }[pending.kind];
      if (known === value) this.#switches.settle(pending, w.sequence);
      else connection.send({ type: pending.kind, id: pending.id, [field]: value });
    }
    if (!waiting.wear) {
      this.#wish.garment = rack.find(w.wearing ?? "") ?? this.#wish.garment;
      if (w.wearing && rack.on !== w.wearing) rack.setNext(w.wearing);
    }
    if (!waiting.person) {
      this.#wish.person = people.find(w.person ?? "") ?? this.#wish.person;
      if (w.person && people.on !== w.person) people.setNext(w.person);
      if (this.#wish.person && !stage.drawn) stage.still(this.#wish.person);
    }
    if (!asked && w.prompt !== null) prompt.restore(w.prompt);
    this.#slate(w.seed);
  }

  /** The session could not be resumed: its uploads are gone with it. */
  lost() {
    const { rack, people } = this.#parts;
    const own = [this.#wish.garment, this.#wish.person].filter((item) => item?.own);
    tab.set("uploads", null);
    rack.removeOwn();
    people.removeOwn();
    if (this.#wish.garment?.own) this.#wish.garment = rack.first;
    if (this.#wish.person?.own) this.#wish.person = people.first;
    const more = own.length ? " Your own pictures went with it; add them again to use them." : "";
    if (this.#parts.stage.drawn) toast(`The session had ended; a new one has begun.${more}`);
  }

  /** The socket is gone, or not there yet. */
  interrupted() {
    this.#switches.stretch();
    this.#parts.receiver.disconnect();
  }

  /** @param {SessionState} state */
  changed(state) {
    if (state !== "live") this.#switches.stretch();
    this.#parts.receiver.rebase(); // the stream's clock stands while it is paused
    this.#change(state);
  }

  /** @param {import("./types.js").Accepted} message */
  accepted(message) {
    this.#switches.accepted(message);
    if (message.seed !== null && message.seed !== undefined) {
      this.#take += 1;
      this.#slate(message.seed);
    }
  }

  /** @param {import("./types.js").Trouble} trouble */
  trouble({ problem, fatal, id }) {
    if (fatal) return;
    const { rack, people, prompt, stage } = this.#parts;
    const refused = id === null || id === undefined ? null : this.#switches.refused(id);
    if (refused) stage.uncue();
    if (refused?.kind === "wear") {
      rack.setNext(null);
      this.#wish.garment = rack.find(rack.on ?? "") ?? null;
    } else if (refused?.kind === "person") {
      people.setNext(null);
      this.#wish.person = people.find(people.on ?? "") ?? null;
    } else if (refused?.kind === "say") prompt.refused();
    toast(`${problem.title}: ${problem.detail}`, { tone: "bad" });
  }

  // -- on the screen --------------------------------------------------------------------------------------------------

  /** A frame has been drawn. @param {import("./types.js").FrameHeader} header @param {number} now */
  displayed(header, now) {
    const news = this.#switches.displayed(header.obeys, now);
    if (this.#first) this.#opened();
    if (news) this.#parts.receiver.ack(); // the server's statistics should not wait for it
  }

  #opened() {
    this.#first = false;
    const { rack, people, stage } = this.#parts;
    if (rack.next && !this.#switches.pending("wear")) rack.setOn(rack.next, null);
    if (people.next && !this.#switches.pending("person")) people.setOn(people.next);
    if (!rack.next && !people.next) stage.uncue();
    this.#describe();
  }

  /** @param {import("./switches.js").Pending} done @param {number | null} ms */
  #inForce(done, ms) {
    const { rack, people, prompt, stage, timing } = this.#parts;
    const time = ms === null ? "" : `, ${milliseconds(ms)}`;
    const name = done.target?.name ?? (done.kind === "take" ? `Take ${this.#take}` : "Prompt");
    if (done.kind === "wear") {
      rack.setOn(done.target.id, ms);
      this.lastSwitch = { garment: done.target.id, ms };
    } else if (done.kind === "person") people.setOn(done.target.id);
    else if (done.kind === "say") prompt.shown(ms);
    const waits = this.#switches.pending("wear") ?? this.#switches.pending("person");
    if (done.kind !== "say" && !waits) stage.cue("on", `${name}${time && ` · ${time.slice(2)}`}`);
    if (ms !== null && done.kind === "wear") timing.add(ms, name);
    announce(`${name} is on${time}`);
    this.#describe();
  }

  #describe() {
    const { rack, people, stage } = this.#parts;
    const [garment, person] = [rack.find(rack.on ?? ""), people.find(people.on ?? "")];
    stage.describe(`Generated video of ${person?.name ?? "a person"} wearing ${garment?.name ?? "clothes"}`);
  }

  /** @param {number | null} seed */
  #slate(seed) {
    this.#parts.stage.slate(`Take ${this.#take}${seed === null ? "" : ` · seed ${seed}`}`);
  }

  /** @param {SessionState} state */
  #change(state) {
    this.state = state;
    this.onstate(state);
  }

  /** Uploads of the session that a reload resumes. */
  #recall() {
    for (const { id, role, kind, name, image } of tab.get("uploads") ?? []) {
      if (role === "person") this.#parts.people.add({ id, name, image, own: true });
      else this.#parts.rack.add({ id, name, kind, image, own: true });
    }
  }
}

/** @param {Upload} upload @param {string} name */
function remember(upload, name) {
  const { id, role, kind, preview } = upload;
  tab.set("uploads", [...(tab.get("uploads") ?? []), { id, role, kind, name, image: preview }]);
}
