// @ts-check
/**
 * Shapes of what is said over the socket and the REST routes. Types only: the module has no code. The source of truth is
 * serve/protocol.py.
 *
 * @typedef {"top" | "bottom" | "one-piece"} Kind
 * @typedef {"h264" | "vp8" | "jpeg"} Codec
 * @typedef {"new" | "opening" | "live" | "paused" | "error" | "closed"} SessionState
 *
 * @typedef {{name: string, width: number, height: number, fps: number, chunk: number, window: number, device: string,
 *   kinds: Kind[]}} ModelInfo
 *
 * @typedef {{type: "welcome", version: number, session: string, resumed: boolean, state: SessionState, codec: Codec,
 *   model: ModelInfo, ahead_ms: number, resume_seconds: number, wearing: string | null, person: string | null,
 *   prompt: string | null, seed: number | null, sequence: number, recording: boolean}} Welcome
 * @typedef {{type: "accepted", id: number, sequence: number, seed: number | null}} Accepted
 * @typedef {{type: "video", codec: Codec, decoder: string, width: number, height: number}} Video
 * @typedef {{type: "stats", generated: number, rate: number, buffered_ms: number, dropped: number, sessions: number,
 *   switches: number, switch_p50: number | null, switch_p95: number | null}} Stats
 * @typedef {{type: "recording", on: boolean, url: string | null, seconds: number}} Recording
 *
 * @typedef {{slot: number, thread: "reference" | "garment" | "history",
 *   state: "live" | "stale" | "withdrawn" | "writing", versions: [number, number, number], segment: number,
 *   chunk: number, frame: number, position: number, pinned: boolean, carried: boolean}} CacheEntry
 * @typedef {{move: string, segment: number, frames: number, evicted: number, withdrawn: number,
 *   versions: [number, number, number], entries: CacheEntry[]}} CacheStep
 * @typedef {{type: "cache", window: number, frame: number, obeys: number, milliseconds: number,
 *   steps: CacheStep[]}} CacheMessage
 *
 * @typedef {{type: string, title: string, status: number, detail: string, retry_after?: number | null}} Problem
 * @typedef {{type: "problem", problem: Problem, fatal: boolean, id: number | null}} Trouble
 *
 * @typedef {{number: number, obeys: number, epoch: number, mediaMs: number, key: boolean, cut: boolean,
 *   arrived: number}} FrameHeader
 *
 * @typedef {{id: string, name: string, kind: Kind, image: string, own?: boolean}} Garment
 * @typedef {{id: string, name: string, image: string, own?: boolean}} PersonInfo
 * @typedef {{id: string, role: "garment" | "person", kind: Kind | null, recognised: boolean, width: number,
 *   height: number, preview: string}} Upload
 */
export {};
