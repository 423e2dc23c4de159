// @ts-check
/** Keyboard shortcuts. They are off while the viewer types, with a modifier key, and while a dialog is open. */
import { byId } from "./dom.js";

/** @param {EventTarget | null} target */
const typing = (target) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])"));

/** @param {Record<string, (event: KeyboardEvent) => void>} keys by KeyboardEvent.key, lower case; "digit" for 1 to 9 */
export function startKeyboard(keys) {
  const help = byId("help", HTMLDialogElement);
  byId("help-close").addEventListener("click", () => help.close());
  byId("help-open").addEventListener("click", () => help.showModal());

  let byPointer = false;
  addEventListener("pointerdown", () => (byPointer = true), true);
  addEventListener("keydown", (event) => {
    if (event.key === "Tab" || event.key.startsWith("Arrow")) byPointer = false;
    if (event.defaultPrevented || event.repeat || event.isComposing) return;
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "?" && !document.querySelector("dialog[open]:not(#help)")) {
      event.preventDefault();
      if (help.open) help.close();
      else help.showModal();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    if (event.key === " " && event.target instanceof HTMLElement && event.target.matches("button, a")) {
      // Space presses a button that the keyboard focused. A clicked button merely still has the focus.
      if (!byPointer) return;
      event.target.blur();
    }
    const digit = /^[1-9]$/.test(event.key);
    const action = digit ? keys.digit : keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}
