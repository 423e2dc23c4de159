// @ts-check
/** Short notes at the edge of the page, and announcements to screen readers. */
import { byId, el, icon } from "./dom.js";

const STAYS_MS = 6000;
const MOST = 3;

let turn = 0;

/** Announces a text to screen readers, politely. @param {string} text */
export function announce(text) {
  // Two lines in turn, so that the same sentence twice in a row is read twice.
  const lines = byId("live").children;
  turn = 1 - turn;
  lines[1 - turn].textContent = "";
  lines[turn].textContent = text;
}

/**
 * @param {string} text
 * @param {{tone?: "plain" | "bad", action?: Node | null, stays?: boolean, spoken?: boolean}} [options]
 */
export function toast(text, { tone = "plain", action = null, stays = false, spoken = true } = {}) {
  const shelf = byId("toasts");
  const close = el("button", { className: "toast-close", type: "button", "aria-label": "Dismiss" }, icon("close"));
  const note = el("div", { className: "toast", "data-tone": tone }, el("p", {}, text), close, action);
  const remove = () => note.remove();
  close.addEventListener("click", remove);
  action?.addEventListener("click", () => setTimeout(remove, 300));
  while (shelf.children.length >= MOST) shelf.firstElementChild?.remove();
  shelf.append(note);
  if (!stays) {
    let timer = setTimeout(remove, STAYS_MS);
    // The pointer or the focus keeps the note, for slow readers.
    for (const hold of ["pointerenter", "focusin"]) note.addEventListener(hold, () => clearTimeout(timer));
    for (const free of ["pointerleave", "focusout"]) {
      note.addEventListener(free, () => (timer = setTimeout(remove, STAYS_MS)));
    }
  }
  if (spoken) announce(text);
  return remove;
}

/** Removes the newest note; false where there is none. */
export function dismissToast() {
  const note = byId("toasts").lastElementChild;
  note?.remove();
  return Boolean(note);
}

/** Moves the notes into the full-screen element, because only that is visible in full screen. */
export function startToasts() {
  const shelf = byId("toasts");
  document.addEventListener("fullscreenchange", () => (document.fullscreenElement ?? document.body).append(shelf));
}
