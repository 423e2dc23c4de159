/** As much of the DOM as the panels need that only set texts, attributes and children. */

export class FakeElement {
  children = [];
  dataset = {};
  style = {};
  attributes = new Map();
  classList = { add() {}, remove() {} };
  hidden = false;
  #text = "";
  #parent = null;

  get textContent() {
    return this.children.length ? this.children.map((child) => child.textContent).join("") : this.#text;
  }

  set textContent(text) {
    this.children = [];
    this.#text = text;
  }

  get firstElementChild() {
    return this.children[0] ?? null;
  }

  get lastElementChild() {
    return this.children.at(-1) ?? null;
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  append(...children) {
    for (const child of children) this.children.push(this.#adopt(child));
  }

  prepend(child) {
    this.children.unshift(this.#adopt(child));
  }

  replaceChildren(...children) {
    this.children = [];
    this.append(...children);
  }

  remove() {
    const siblings = this.#parent?.children;
    siblings?.splice(siblings.indexOf(this), 1);
  }

  #adopt(child) {
    if (typeof child !== "string") {
      child.#parent = this;
      return child;
    }
    const text = new FakeElement();
    text.textContent = child;
    return text;
  }
}

/** Puts a document in place that has an element for every id that is asked for. */
export function installDocument() {
  const elements = new Map();
  const byId = (id) => {
    if (!elements.has(id)) elements.set(id, new FakeElement());
    return elements.get(id);
  };
  globalThis.HTMLElement = FakeElement;
  globalThis.document = { getElementById: byId, createElement: () => new FakeElement() };
  return byId;
}
