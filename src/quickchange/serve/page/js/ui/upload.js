// @ts-check
/**
 * Pictures that the viewer chooses, drops or pastes. A dialog first shows what the server cut out of a garment's
 * picture, because that is what the model will see.
 */
import * as api from "../net/api.js";
import { byId, setText } from "./dom.js";
import { errorText } from "./text.js";
import { toast } from "./toast.js";

/** @typedef {import("../net/api.js").Upload} Upload */

const LARGEST = 20 * 2 ** 20; // the server's default limit; the server decides in the end

export class Uploads {
  #dialog = byId("upload-dialog", HTMLDialogElement);
  #preview = byId("upload-preview", HTMLImageElement);
  #error = byId("upload-error");
  #verdict = byId("upload-verdict");
  #wear = byId("upload-wear", HTMLButtonElement);
  #whole = byId("upload-whole", HTMLInputElement);
  /** @type {File | Blob | null} */
  #file = null;
  /** @type {Upload | null} */
  #ready = null;
  /** What the picker was opened for. @type {string | undefined} */
  #asked;
  #abort = new AbortController();
  #hooks;

  /**
   * @param {{session(): string | null, trained(): string[], ongarment(upload: Upload, name: string, start: number): void,
   *   onperson(upload: Upload, name: string, start: number): void}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    for (const [id, role] of [["file", "garment"], ["person-file", "person"]]) {
      byId(id).addEventListener("change", (/** @type {Event} */ event) => {
        const input = /** @type {HTMLInputElement} */ (event.target);
        const file = input.files?.[0];
        input.value = ""; // so that the same file can be chosen again
        if (file) this.take(file, role, this.#asked);
      });
    }
    this.#whole.addEventListener("change", () => this.#send());
    for (const radio of this.#kinds) {
      // The cut-out does not depend on the kind, so nothing is sent again.
      radio.addEventListener("change", () => {
        if (this.#ready) this.#accepted(this.#ready);
      });
    }
    this.#wear.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#accept(event.timeStamp));
    byId("upload-cancel").addEventListener("click", () => this.#dialog.close());
    byId("upload-other").addEventListener("click", () => this.choose(this.#kind));
    this.#dialog.addEventListener("close", () => this.#abort.abort());
    addEventListener("paste", (event) => this.#pasted(event));
  }

  /** @returns {HTMLInputElement[]} */
  get #kinds() {
    return [...this.#dialog.querySelectorAll("input[name=kind]")].filter((radio) => radio instanceof HTMLInputElement);
  }

  /** @returns {import("../net/api.js").Kind} */
  get #kind() {
    const value = this.#kinds.find((radio) => radio.checked)?.value;
    return value === "bottom" || value === "one-piece" ? value : "top";
  }

  /** Opens the file picker. @param {string} [kind] kind of the garment */
  choose(kind) {
    this.#asked = kind;
    byId("file").click();
  }

  choosePerson() {
    byId("person-file").click();
  }

  /** @param {string} kind */
  #setKind(kind) {
    for (const radio of this.#kinds) radio.checked = radio.value === kind;
  }

  /**
   * @param {File | Blob} file
   * @param {string} role
   * @param {string} [kind]
   */
  take(file, role, kind) {
    if (file.type && !file.type.startsWith("image/")) {
      const name = file instanceof File ? file.name : "This";
      return void toast(`${name} is not a picture. Choose a JPEG, PNG or WebP file.`, { tone: "bad" });
    }
    if (file.size > LARGEST) {
      const size = (file.size / 2 ** 20).toFixed(0);
      const text = `The picture has ${size} MB; the limit is 20 MB. Make it smaller and try again.`;
      return void toast(text, { tone: "bad" });
    }
    if (role === "person") return void this.#person(file);
    this.#setKind(kind ?? "top"); // not the kind of the last garment
    this.#file = file;
    this.#whole.checked = false;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#send();
  }

  /** @param {File | Blob} file */
  async #person(file) {
    const session = this.#hooks.session();
    if (!session) return toast("Not connected yet. Try again in a moment.", { tone: "bad" });
    const done = toast("Preparing your picture", { stays: true });
    try {
      const upload = await api.upload(session, file, { role: "person" });
      this.#hooks.onperson(upload, nameOf(file, "Your picture"), performance.now());
    } catch (error) {
      toast(errorText(error), { tone: "bad", stays: true });
    } finally {
      done();
    }
  }

  /** Uploads with the current choices and shows the result. */
  async #send() {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const file = this.#file;
    const session = this.#hooks.session();
    if (!file) return;
    this.#show("busy", "Cutting out the garment");
    if (!session) return this.#fail("Not connected yet. Wait until the picture is live, then try again.");
    try {
      const options = { role: /** @type {const} */ ("garment"), kind: this.#kind, cutout: !this.#whole.checked };
      const upload = await api.upload(session, file, options, signal);
      if (signal.aborted) return;
      this.#preview.src = upload.preview;
      this.#preview.hidden = false;
      this.#accepted(upload);
      this.#wear.disabled = false;
      this.#wear.focus();
    } catch (error) {
      if (!signal.aborted) this.#fail(errorText(error));
    }
  }

  /** The cut-out has arrived; the kind is the one that is chosen now. @param {Upload} upload */
  #accepted(upload) {
    this.#ready = { ...upload, kind: this.#kind };
    const trained = this.#hooks.trained();
    const odd = trained.length && !trained.includes(this.#kind);
    const known = trained.map((kind) => `${kind}s`).join(", ");
    const warning = odd ? ` This model was trained on ${known} only; it may draw this garment as one of those.` : "";
    this.#show("ready", verdict(upload, this.#whole.checked) + warning);
  }

  /** @param {"busy" | "ready" | "failed"} state @param {string} text */
  #show(state, text) {
    this.#dialog.dataset.state = state;
    this.#error.hidden = true;
    setText(this.#verdict, text);
    if (state !== "ready") {
      this.#wear.disabled = true;
      this.#ready = null;
    }
  }

  /** @param {string} text */
  #fail(text) {
    this.#show("failed", "");
    this.#preview.hidden = true;
    this.#error.hidden = false;
    setText(this.#error, text);
  }

  /** @param {number} start */
  #accept(start) {
    if (!this.#ready) return;
    const upload = this.#ready;
    const name = nameOf(this.#file, "Your garment");
    this.#dialog.close();
    this.#hooks.ongarment(upload, name, start);
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const image = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
    if (!image) return;
    event.preventDefault();
    this.take(image, "garment");
  }
}

/** @param {Upload} upload @param {boolean} whole */
function verdict(upload, whole) {
  if (whole) return "The whole picture is used, including the background.";
  if (upload.recognised) return "This is what the model will see.";
  return (
    "The background could not be separated from the garment, so the whole picture is used. " +
    "A plain background works best."
  );
}

/**
 * The name of a garment: that of its file, without the ending.
 * @param {File | Blob | null} file
 * @param {string} fallback
 */
function nameOf(file, fallback) {
  const base = file instanceof File ? file.name.replace(/\.[^.]*$/, "").replace(/[_-]+/g, " ").trim() : "";
  return base && base !== "image" ? base.slice(0, 40) : fallback;
}
