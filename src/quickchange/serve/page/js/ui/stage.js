// @ts-check
/** The picture, a canvas in device pixels that is never blank, and the labels on it. */
import { byId, setText } from "./dom.js";

const LONGEST = 1280; // device pixels of the long side; more would cost time and show nothing new
const CAPTION_MS = 2600;
const MARGIN = 10; // around the picture, for the viewfinder's corners; the same in stage.css

export class Stage {
  #area = byId("stage-area");
  #frame = byId("frame");
  #still = byId("still", HTMLImageElement);
  #caption = byId("caption");
  #canvas = byId("stage", HTMLCanvasElement);
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d", { alpha: false }));
  // The last picture in its own size. It is drawn again when the window changes, so a frozen picture stays sharp.
  #last = document.createElement("canvas");
  #lastContext = /** @type {CanvasRenderingContext2D} */ (this.#last.getContext("2d", { alpha: false }));
  #aspect = 3 / 4;
  #timer = 0;
  drawn = false;

  constructor() {
    new ResizeObserver(() => this.#fit()).observe(this.#area);
    matchMedia("(min-resolution: 1.5dppx)").addEventListener("change", () => this.#fit());
    this.#fit();
  }

  /** @param {import("../net/protocol.js").ModelInfo} model */
  shape(model) {
    this.#aspect = model.width / model.height;
    this.#fit();
  }

  /** @param {import("../video/decoder.js").Picture} picture */
  draw(picture) {
    const width = "displayWidth" in picture ? picture.displayWidth : picture.width;
    const height = "displayHeight" in picture ? picture.displayHeight : picture.height;
    if (this.#last.width !== width || this.#last.height !== height) {
      this.#last.width = width;
      this.#last.height = height;
    }
    this.#lastContext.drawImage(picture, 0, 0, width, height);
    this.#paint();
    if (!this.drawn) {
      this.drawn = true;
      this.#frame.dataset.drawn = "true";
    }
  }

  /** Shows the person until the first picture is there. @param {{name: string, image: string}} person */
  still(person) {
    if (this.#still.getAttribute("src") !== person.image) this.#still.src = person.image;
    this.#still.alt = `${person.name}, still`;
  }

  /** @param {string} text */
  describe(text) {
    this.#canvas.setAttribute("aria-label", text);
  }

  /** @param {string} text */
  label(text) {
    setText(byId("take-label"), text);
  }

  /**
   * Shows a caption at the foot of the picture. It stays while a control is pending; otherwise it disappears by itself.
   * @param {"next" | "on" | "wait"} kind
   * @param {string} text
   */
  caption(kind, text) {
    clearTimeout(this.#timer);
    this.#caption.dataset.kind = kind;
    this.#caption.hidden = false;
    setText(this.#caption.lastElementChild, text);
    if (kind === "on") this.#timer = setTimeout(() => this.clearCaption(), CAPTION_MS);
  }

  clearCaption() {
    this.#caption.hidden = true;
  }

  /** Lets the picture blink for a snapshot. */
  flash() {
    this.#frame.classList.remove("flash");
    void this.#frame.offsetWidth; // restarts the animation
    this.#frame.classList.add("flash");
  }

  #fit() {
    const { clientWidth, clientHeight } = this.#area;
    const [roomX, roomY] = [clientWidth - 2 * MARGIN, clientHeight - 2 * MARGIN];
    const width = Math.max(1, Math.floor(Math.min(roomX, roomY * this.#aspect)));
    const height = Math.max(1, Math.round(width / this.#aspect));
    this.#frame.style.width = `${width + 2 * MARGIN}px`;
    this.#frame.style.height = `${height + 2 * MARGIN}px`;
    const scale = Math.min(devicePixelRatio || 1, LONGEST / Math.max(width, height));
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.#canvas.width === w && this.#canvas.height === h) return;
    this.#canvas.width = w;
    this.#canvas.height = h;
    this.#paint();
  }

  #paint() {
    if (!this.#last.width || !this.#last.height) return;
    this.#context.imageSmoothingEnabled = true; // resizing a canvas resets both
    this.#context.imageSmoothingQuality = "high";
    this.#context.drawImage(this.#last, 0, 0, this.#canvas.width, this.#canvas.height);
  }
}
