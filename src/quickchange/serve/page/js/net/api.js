// @ts-check
/**
 * The REST routes. Every failure becomes a ProblemError whose message may be shown to the viewer.
 *
 * @typedef {import("./protocol.js").Problem} Problem
 * @typedef {import("./protocol.js").ModelInfo["kinds"][number]} Kind
 * @typedef {{id: string, name: string, kind: Kind, image: string, own?: boolean}} Garment own: an upload of the viewer
 * @typedef {{id: string, name: string, image: string, own?: boolean}} PersonInfo
 * @typedef {{id: string, role: "garment" | "person", kind: Kind | null, recognised: boolean, width: number,
 *   height: number, preview: string}} Upload preview is a data URL; of a garment it shows what was cut out
 */

export class ProblemError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail || problem.title);
    this.problem = problem;
  }
}

/**
 * The problem that a failed response describes; made from the status where it is not a problem document (a proxy's
 * page).
 * @param {Response} response
 * @returns {Promise<Problem>}
 */
export async function problemOf(response) {
  const blank = { type: "about:blank", status: response.status, retry_after: null };
  try {
    const body = await response.json();
    if (body && typeof body.title === "string") return { ...blank, detail: body.title, ...body };
  } catch {
    // not JSON: use the status
  }
  const title = response.status === 413 ? "The file is too large" : `The server answered ${response.status}`;
  return { ...blank, title, detail: `${title} ${response.statusText}`.trim() };
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch {
    const detail = "The server cannot be reached. Check that it is running, then try again.";
    throw new ProblemError({ type: "about:blank", title: "No connection", status: 0, detail, retry_after: null });
  }
  if (!response.ok) throw new ProblemError(await problemOf(response));
  return response;
}

/** @returns {Promise<Garment[]>} */
export async function garments() {
  return (await (await request("/v1/garments")).json()).garments;
}

/** @returns {Promise<PersonInfo[]>} */
export async function people() {
  return (await (await request("/v1/people")).json()).people;
}

/**
 * @param {string} session
 * @param {Blob} image
 * @param {{role: "garment" | "person", kind?: string, cutout?: boolean}} options
 * @param {AbortSignal} [signal]
 * @returns {Promise<Upload>}
 */
export async function upload(session, image, { role, kind, cutout }, signal) {
  const form = new FormData();
  form.append("image", image, image instanceof File ? image.name : "pasted.png");
  form.append("role", role);
  if (kind) form.append("kind", kind);
  if (cutout !== undefined) form.append("cutout", String(cutout));
  const headers = { "Quickchange-Session": session };
  return (await request("/v1/uploads", { method: "POST", body: form, headers, signal })).json();
}

/**
 * @param {string} session
 * @param {number} frame
 */
export async function snapshot(session, frame) {
  const response = await request(`/v1/snapshot?frame=${frame}`, { headers: { "Quickchange-Session": session } });
  return response.blob();
}

/**
 * Asks whether the model is warm: "ready", "warming", "unreachable", or the problem that denies access.
 * @returns {Promise<"ready" | "warming" | "unreachable" | Problem>}
 */
export async function readiness() {
  try {
    const response = await fetch("/readyz", { credentials: "same-origin", cache: "no-store" });
    if (response.status === 503) return "warming";
    // /readyz needs no token, so it does not show whether this page has access; /v1/people does.
    const door = response.ok ? await fetch("/v1/people", { credentials: "same-origin" }) : response;
    if (door.status === 401 || door.status === 403) return await problemOf(door);
    return response.ok ? "ready" : "unreachable";
  } catch {
    return "unreachable";
  }
}
