// @ts-check
/** Who is on stage: bundled people, one's own pictures. */
import { byId, el, icon, seam } from "./dom.js";

/** @typedef {import("../net/types.js").PersonInfo} PersonInfo */

export class People {
  #box = byId("people");
  /** @type {PersonInfo[]} */
  #people = [];
  /** @type {string | null} */
  #on = null;
  /** @type {string | null} */
  #next = null;
  #hooks;

  /** @param {{onpick(person: PersonInfo, start: number): void, onadd(): void}} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  get on() {
    return this.#on;
  }

  get next() {
    return this.#next;
  }

  get first() {
    return this.#people.find((person) => !person.own) ?? null;
  }

  /** @param {string} id */
  find(id) {
    return this.#people.find((person) => person.id === id) ?? null;
  }

  /** @param {PersonInfo[]} people */
  fill(people) {
    this.#people = [...people.filter((p) => !p.own), ...this.#people.filter((person) => person.own)];
    this.#build();
  }

  /** @param {PersonInfo} person */
  add(person) {
    this.#people = [...this.#people.filter((known) => known.id !== person.id), person];
    this.#build();
  }

  removeOwn() {
    this.#people = this.#people.filter((person) => !person.own);
    this.#build();
  }

  /** @param {string | null} id */
  setNext(id) {
    this.#next = id;
    this.#mark();
  }

  /** @param {string | null} id */
  setOn(id) {
    this.#on = id;
    if (this.#next === id) this.#next = null;
    this.#mark();
  }

  #build() {
    const tiles = this.#people.map((person) => {
      const image = el("img", { src: person.image, alt: "", draggable: false });
      const picture = el("span", { className: "person-picture" }, image, seam());
      const tile = el("button", { type: "button", className: "person", "data-person-id": person.id });
      tile.title = person.own ? `${person.name} (yours)` : person.name;
      tile.append(picture, el("span", { className: "person-name" }, person.name));
      tile.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#hooks.onpick(person, event.timeStamp));
      return tile;
    });
    const add = el("button", { type: "button", className: "person person-add" });
    add.append(el("span", { className: "person-picture" }, icon("plus")), el("span", { className: "person-name" }, "Yours"));
    add.setAttribute("aria-label", "Use a picture of your own as the person");
    add.title = "Use a picture of your own, with the person's consent";
    add.addEventListener("click", () => this.#hooks.onadd());
    this.#box.replaceChildren(...tiles, add);
    this.#mark();
  }

  #mark() {
    for (const tile of this.#box.querySelectorAll("[data-person-id]")) {
      const id = tile.dataset.personId;
      const state = id === this.#next ? "next" : id === this.#on ? "on" : "idle";
      tile.dataset.state = state;
      tile.setAttribute("aria-pressed", String(state === "on"));
      const words = state === "idle" ? "" : state === "next" ? ", next" : ", on stage";
      tile.setAttribute("aria-label", `${this.find(id)?.name}${words}`);
    }
  }
}
