// @ts-check
/** The viewer's own pictures. They last as long as the session; a reload that resumes the session restores them. */
import { tab } from "./storage.js";

/** @typedef {import("../net/api.js").Upload} Upload */

/** @typedef {Pick<Upload, "id" | "role" | "kind"> & {name: string, image: string}} Kept */

/** An upload as a garment or a person. @param {Kept} kept */
const item = ({ id, kind, name, image }) => ({ id, name, kind: kind ?? "top", image, own: true });

/** @param {Upload} upload @param {string} name */
export function keep(upload, name) {
  /** @type {Kept} */
  const kept = { id: upload.id, role: upload.role, kind: upload.kind, name, image: upload.preview };
  tab.set("uploads", [...stored(), kept]);
  return item(kept);
}

/** @returns {Kept[]} */
const stored = () => tab.get("uploads") ?? [];

/**
 * Puts the stored uploads back into their lists.
 * @param {{add(garment: import("../net/api.js").Garment): void}} rack
 * @param {{add(person: import("../net/api.js").PersonInfo): void}} people
 */
export function recall(rack, people) {
  for (const kept of stored()) (kept.role === "person" ? people : rack).add(item(kept));
}

/** Forgets all uploads. @returns {boolean} whether there were any */
export function forget() {
  const had = stored().length > 0;
  tab.set("uploads", null);
  return had;
}
