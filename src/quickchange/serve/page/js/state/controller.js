// @ts-check
/**
 * Keeps what the viewer asked for (person, garment, direction) apart from what the screen shows. Sends the controls,
 * follows them to the screen, and keeps the viewer's choice across lost sockets, reloads and new sessions.
 */
import * as uploads from "./uploads-store.js";
import { Switches } from "./switches.js";

/** @typedef {import("../net/api.js").Garment} Garment */
/** @typedef {import("../net/api.js").PersonInfo} PersonInfo */
/** @typedef {import("../net/api.js").Upload} Upload */
/** @typedef {import("../net/protocol.js").State} SessionState */
/**
 * What the controller works with.
 * @typedef {object} Parts
 * @property {import("../net/connection.js").Connection} connection
 * @property {import("../video/receiver.js").Receiver} receiver
 * @property {import("../ui/stage.js").Stage} stage
 * @property {import("../ui/rack.js").Rack} rack
 * @property {import("../ui/people.js").People} people
 * @property {import("../ui/prompt.js").Prompt} prompt
 * @property {import("../ui/announcements.js").Announcements} announcements
 * @property {(text: string, tone: "plain" | "bad") => void} notify shows a note to the viewer
 */

export class Controller {
  /** @type {SessionState} */
  state = "new";
  /** @type {import("../net/protocol.js").ModelInfo | null} */
  model = null;
  /** @type {import("../net/protocol.js").Stats | null} */
  stats = null;
  /** @type {{garment: string, ms: number | null} | null} */
  lastSwitch = null;
  onstate = (/** @type {SessionState} */ _state) => {};
  #loaded = false;
  /** @type {import("../net/protocol.js").Welcome | null} */
  #welcome = null;
  /** @type {{garment: Garment | null, person: PersonInfo | null}} what the viewer asked for, shown or not */
  #wanted = { garment: null, person: null };
  #first = false; // whether the first picture of the stream is still to come
  #switches = new Switches((done, ms) => this.#shown(done, ms));
  #parts;
  #announcements;

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.#announcements = parts.announcements;
  }

  // -- controls -------------------------------------------------------------------------------------------------------

  /** @param {Garment} garment @param {number} start */
  wear(garment, start) {
    const { rack, stage } = this.#parts;
    if (this.#wanted.garment?.id === garment.id) return; // shown or pending: a second request would only cause a cut
    this.#wanted.garment = garment;
    rack.setNext(garment.id);
    stage.caption("next", garment.name);
    this.#control("wear", garment, (id) => ({ type: "wear", id, garment: garment.id }), start);
  }

  /** @param {PersonInfo} person @param {number} start */
  person(person, start) {
    const { people, stage } = this.#parts;
    if (this.#wanted.person?.id === person.id) return;
    this.#wanted.person = person;
    people.setNext(person.id);
    stage.caption("next", person.name);
    if (!stage.drawn) stage.still(person);
    this.#control("person", person, (id) => ({ type: "person", id, person: person.id }), start);
  }

  /** @param {string} prompt @param {number} start */
  say(prompt, start) {
    this.#control("say", prompt, (id) => ({ type: "say", id, prompt }), start);
  }

  /** @param {number} start */
  take(start) {
    if (!this.#running) return;
    this.#parts.stage.caption("next", `Take ${this.#announcements.take + 1}`);
    this.#control("take", null, (id) => ({ type: "take", id, seed: drawSeed() }), start);
  }

  /** @param {Upload} upload @param {string} name @param {number} start */
  wearUpload(upload, name, start) {
    const garment = uploads.keep(upload, name);
    this.#parts.rack.add(garment);
    this.wear(garment, start);
  }

  /** @param {Upload} upload @param {string} name @param {number} start */
  personUpload(upload, name, start) {
    const person = uploads.keep(upload, name);
    this.#parts.people.add(person);
    this.person(person, start);
  }

  /** The switch times that the server has not received yet. */
  times() {
    return this.#switches.drain();
  }

  /** The pending controls take longer for a reason other than speed. */
  stretched() {
    this.#switches.stretch();
  }

  get #running() {
    return ["opening", "live", "paused"].includes(this.state) && this.#parts.connection.online;
  }

  /**
   * @template {import("./switches.js").ControlKind} Kind
   * @param {Kind} kind
   * @param {import("./switches.js").Targets[Kind]} target
   * @param {(id: number) => import("../net/protocol.js").FromViewer} message
   * @param {number} start
   */
  #control(kind, target, message, start) {
    const pending = this.#switches.begin(kind, target, start, this.state !== "live" || document.hidden);
    // Without a session the choice waits: `open` sends it, or the resumed socket does.
    if (this.#running) this.#parts.connection.send(message(pending.id));
  }

  // -- from the server ------------------------------------------------------------------------------------------------

  /** The lists of garments and people have arrived. */
  loaded() {
    this.#loaded = true;
    const { connection, rack, people, stage } = this.#parts;
    if (connection.token) uploads.recall(rack, people);
    this.#wanted.garment ??= rack.first;
    this.#wanted.person ??= people.first;
    if (this.#wanted.person && !stage.drawn) stage.still(this.#wanted.person);
    if (this.#welcome) this.#begin(this.#welcome);
  }

  /** @param {import("../net/protocol.js").Welcome} welcome */
  welcome(welcome) {
    this.model = welcome.model;
    this.#welcome = welcome;
    this.#parts.rack.trainedOn(welcome.model.kinds);
    if (this.#loaded) this.#begin(welcome);
  }

  /** @param {import("../net/protocol.js").Welcome} welcome */
  #begin(welcome) {
    this.#welcome = null;
    this.#change(welcome.state);
    if (welcome.state === "new") this.#open();
    else this.#continue(welcome);
  }

  /** Opens a new session with what the viewer asked for. */
  #open() {
    const { connection, receiver, rack, people, prompt, stage } = this.#parts;
    receiver.restart();
    this.#switches.clear();
    this.#announcements.take = 1;
    this.#first = true;
    this.#wanted.garment ??= rack.first;
    this.#wanted.person ??= people.first;
    const { garment, person } = this.#wanted;
    if (!garment || !person) return;
    if (rack.on !== garment.id) rack.setNext(garment.id);
    if (people.on !== person.id) people.setNext(person.id);
    const seed = drawSeed();
    this.#announcements.label(seed);
    connection.send({ type: "open", person: person.id, garment: garment.id, prompt: prompt.text, seed });
    this.#change("opening"); // before the server says so: a click until then is sent, not lost
  }

  /** Continues the session on a new socket. @param {import("../net/protocol.js").Welcome} welcome */
  #continue(welcome) {
    const { connection, rack, people, prompt, stage } = this.#parts;
    const { wearing, person } = welcome;
    this.#first = !rack.on;
    for (const message of this.#switches.resumed(welcome)) connection.send(message);
    const waits = this.#waits;
    if (!waits.wear) {
      this.#wanted.garment = rack.find(wearing ?? "") ?? this.#wanted.garment;
      if (wearing && rack.on !== wearing) rack.setNext(wearing);
    }
    if (!waits.person) {
      this.#wanted.person = people.find(person ?? "") ?? this.#wanted.person;
      if (person && people.on !== person) people.setNext(person);
      if (this.#wanted.person && !stage.drawn) stage.still(this.#wanted.person);
    }
    if (!waits.wear && !waits.person) stage.clearCaption();
    if (!this.#switches.pending("say") && welcome.prompt !== null) prompt.restore(welcome.prompt);
    this.#announcements.label(welcome.seed);
  }

  get #waits() {
    return { wear: Boolean(this.#switches.pending("wear")), person: Boolean(this.#switches.pending("person")) };
  }

  /** The session could not be resumed; its uploads are lost as well. */
  lost() {
    const { rack, people } = this.#parts;
    const had = uploads.forget();
    rack.removeOwn();
    people.removeOwn();
    if (this.#wanted.garment?.own) this.#wanted.garment = rack.first;
    if (this.#wanted.person?.own) this.#wanted.person = people.first;
    const more = had ? " Your own pictures were removed with it; add them again to use them." : "";
    if (!had && !this.#parts.stage.drawn) return;
    this.#parts.notify(`Your session had ended, so a new one has started.${more}`, "plain");
  }

  /** There is no socket, or it is not open yet. */
  interrupted() {
    this.#switches.stretch();
    this.#parts.receiver.disconnect();
  }

  /** @param {SessionState} state */
  changed(state) {
    if (state !== "live") this.#switches.stretch();
    this.#parts.receiver.rebase(); // the stream's clock stops during a pause
    this.#change(state);
  }

  /** @param {import("../net/protocol.js").Accepted} message */
  accepted(message) {
    this.#switches.accepted(message);
    if (message.seed !== null && message.seed !== undefined) {
      this.#announcements.take += 1;
      this.#announcements.label(message.seed);
    }
  }

  /** @param {import("../net/protocol.js").Trouble} trouble */
  trouble({ problem, fatal, id }) {
    if (fatal) return;
    const { rack, people, prompt, stage } = this.#parts;
    const refused = id === null || id === undefined ? null : this.#switches.refused(id);
    if (refused) stage.clearCaption();
    if (refused?.kind === "wear") {
      rack.setNext(null);
      this.#wanted.garment = rack.find(rack.on ?? "") ?? null;
    } else if (refused?.kind === "person") {
      people.setNext(null);
      this.#wanted.person = people.find(people.on ?? "") ?? null;
    } else if (refused?.kind === "say") prompt.refused();
    this.#parts.notify(problem.detail || problem.title, "bad");
  }

  // -- on the screen --------------------------------------------------------------------------------------------------

  /** A frame has been drawn. @param {import("../net/header.js").FrameHeader} header @param {number} now */
  displayed(header, now) {
    const news = this.#switches.displayed(header.obeys, now);
    if (this.#first) this.#announcements.opened(this.#waits);
    this.#first = false;
    if (news) this.#parts.receiver.ack(); // so that the server's statistics get it at once
  }

  /** @param {import("./switches.js").Pending} done @param {number | null} ms */
  #shown(done, ms) {
    if (done.kind === "wear") this.lastSwitch = { garment: done.target.id, ms };
    this.#announcements.inForce(done, ms, this.#waits.wear || this.#waits.person);
  }

  /** @param {SessionState} state */
  #change(state) {
    this.state = state;
    this.onstate(state);
  }
}

/** Short enough to read from the picture and to type into `quickchange generate --seed`. */
const drawSeed = () => Math.floor(Math.random() * 1_000_000);
