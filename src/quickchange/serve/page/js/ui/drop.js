// @ts-check
/** Drag and drop: anywhere for a garment, on a group for a garment of that kind, on the people for a person. */
import { byId } from "./dom.js";

/** @param {DataTransfer | null} data */
const hasFiles = (data) => [...(data?.types ?? [])].includes("Files");

/** @param {(file: File, role: string, kind?: string) => void} ondrop */
export function startDrop(ondrop) {
  let depth = 0; // every child element sends its own enter and leave
  /** @param {boolean} on */
  const mark = (on) => document.body.classList.toggle("dropping", on);

  addEventListener("dragenter", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    depth += 1;
    mark(true);
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    depth = Math.max(0, depth - 1);
    if (!depth) mark(false);
  });
  addEventListener("dragover", (event) => {
    if (hasFiles(event.dataTransfer)) event.preventDefault(); // otherwise the browser would open the picture
  });
  addEventListener("drop", (event) => {
    depth = 0;
    mark(false);
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    const target = /** @type {Element} */ (event.target);
    if (byId("people-section").contains(target)) return ondrop(file, "person");
    const group = target.closest("[data-kind]");
    ondrop(file, "garment", group instanceof HTMLElement ? group.dataset.kind : undefined);
  });
}
