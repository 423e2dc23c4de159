// @ts-check
/** The viewer's own pictures. They live as long as the session; a reload that resumes it finds them again. */
import { tab } from "./storage.js";

/** @typedef {import("../net/types.js").Upload} Upload */

/**
 * An upload as something to wear or to be.
 * @param {{id: string, role: string, kind: any, name: string, image: string}} kept
 */
const item = ({ id, kind, name, image }) => ({ id, name, kind: kind ?? "top", image, own: true });

/** @param {Upload} upload @param {string} name */
export function keep(upload, name) {
  const kept = { id: upload.id, role: upload.role, kind: upload.kind, name, image: upload.preview };
  tab.set("uploads", [...(tab.get("uploads") ?? []), kept]);
  return item(kept);
}

/** @param {any} rack @param {any} people */
export function recall(rack, people) {
  for (const kept of tab.get("uploads") ?? []) (kept.role === "person" ? people : rack).add(item(kept));
}

/** They are gone. @returns {boolean} whether there were any */
export function forget() {
  const any = (tab.get("uploads") ?? []).length > 0;
  tab.set("uploads", null);
  return any;
}
