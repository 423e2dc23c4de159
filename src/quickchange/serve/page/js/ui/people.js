// @ts-check
/** The choice of the person on stage: bundled people and the viewer's own pictures. */
import { Choices } from "./choices.js";
import { all, byId, el, icon, seam } from "./dom.js";

/** @typedef {import("../net/api.js").PersonInfo} PersonInfo */

/** @extends {Choices<PersonInfo>} */
export class People extends Choices {
  #box = byId("people");
  #hooks;

  /** @param {{onpick(person: PersonInfo, start: number): void, onadd(): void}} hooks */
  constructor(hooks) {
    super();
    this.#hooks = hooks;
  }

  /** The viewer's own come last, as they were added. @override */
  get items() {
    return [...this.bundled, ...this.own];
  }

  /** @override @protected */
  build() {
    const tiles = this.items.map((person) => {
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
    add.setAttribute("aria-label", "Use your own picture as the person");
    add.title = "Use your own picture, with the person's consent";
    add.addEventListener("click", () => this.#hooks.onadd());
    this.#box.replaceChildren(...tiles, add);
    this.mark();
  }

  /** @override @protected */
  mark() {
    for (const tile of all(this.#box, "[data-person-id]")) {
      const id = tile.dataset.personId;
      const state = this.stateOf(id);
      tile.dataset.state = state;
      tile.setAttribute("aria-pressed", String(state === "on"));
      const words = state === "idle" ? "" : state === "next" ? ", next" : ", on stage";
      tile.setAttribute("aria-label", `${this.find(id ?? "")?.name}${words}`);
    }
  }
}
