// Written by scripts/page_types.py from docs/protocol.schema.json. Do not edit.

/** A control was taken in. Frames whose `obeys` is at least `sequence` follow it, or a later one of its kind. */
export interface Accepted {
  type: "accepted";
  id: number;
  sequence: number;
  seed: number | null;
}

/**
 * What has been shown: number of the last frame on the screen. At least every 12 frames or 250 ms while frames come; a
 * viewer that stays silent loses frames, then the stream waits for it.
 */
export interface Ack {
  type: "ack";
  frame: number;
  switched?: Switched[];
}

/** What the KV cache went through for one chunk, step by step. Only while `inspect` is on. */
export interface Cache {
  type: "cache";
  window: number;
  /** first frame of the chunk */
  frame: number;
  obeys: number;
  /** what the chunk took to generate */
  milliseconds: number;
  steps: CacheStep[];
}

/** One slot of the KV cache: a latent frame, the thread it belongs to and the versions it was made under. */
export interface CacheEntry {
  slot: number;
  thread: "reference" | "garment" | "history";
  state: "live" | "stale" | "withdrawn" | "writing";
  /** reference, garment, text */
  versions: [number, number, number];
  segment: number;
  chunk: number;
  frame: number;
  position: number;
  pinned: boolean;
  carried: boolean;
}

/**
 * One transition of the cache, and how it looks afterwards. Entries in state `withdrawn` leave with this step.
 * `frames`, `evicted` and `withdrawn` count since the take began.
 */
export interface CacheStep {
  move: string;
  segment: number;
  frames: number;
  evicted: number;
  withdrawn: number;
  versions: [number, number, number];
  entries: CacheEntry[];
}

/** Ends the session at once: it cannot be resumed. */
export interface Close {
  type: "close";
}

/** The first message: what the viewer can decode, best first, and the session to resume, if any. */
export interface Hello {
  type: "hello";
  version: number;
  codecs: ("h264" | "vp8" | "jpeg")[];
  resume?: string | null;
}

/** Asks for the state of the KV cache with every chunk, or no longer. */
export interface Inspect {
  type: "inspect";
  on: boolean;
}

/** Asks for a picture that can be decoded on its own, after a decoder error. */
export interface Keyframe {
  type: "keyframe";
}

/** What generates. `width`, `height` are those of a generated frame; `chunk` and `window` count latent frames. */
export interface ModelInfo {
  name: string;
  width: number;
  height: number;
  fps: number;
  chunk: number;
  window: number;
  device: string;
  /** kinds of garments that the model was trained on */
  kinds: ("top" | "bottom" | "one-piece")[];
}

/** Starts the stream. Without a seed one is drawn. */
export interface Open {
  type: "open";
  /** id of a bundled or uploaded image */
  person: string;
  /** id of a bundled or uploaded image */
  garment: string;
  /** what the person does; empty is allowed */
  prompt?: string;
  seed?: number | null;
}

/** Stops the picture where it is. */
export interface Pause {
  type: "pause";
}

/** Changes the person, which is a cut. */
export interface Person {
  type: "person";
  /** the viewer's own number, comes back in `accepted` */
  id: number;
  /** id of a bundled or uploaded image */
  person: string;
}

/** RFC 9457 problem details. `detail` says what was found, what is expected and what to do. */
export interface Problem {
  /** urn:quickchange:problem:..., one for each kind of problem */
  type: string;
  title: string;
  status: number;
  detail: string;
  /** seconds after which to try again */
  retry_after: number | null;
}

/** Starts or ends a recording of what is shown. */
export interface Record {
  type: "record";
  on: boolean;
}

/** A recording began, or ended and can be fetched at `url` while the session lives. */
export interface Recording {
  type: "recording";
  on: boolean;
  url: string | null;
  seconds: number;
}

/** Goes on after `pause`. */
export interface Resume {
  type: "resume";
}

/** Changes the prompt; the picture goes on. */
export interface Say {
  type: "say";
  /** the viewer's own number, comes back in `accepted` */
  id: number;
  /** what the person does; empty is allowed */
  prompt: string;
}

/** Of a session. Whether a viewer is connected is another matter: a live session outlives its socket for a while. */
export type State = "new" | "opening" | "live" | "paused" | "error" | "closed";

/** The session's state is now this. */
export interface StateChanged {
  type: "state";
  state: State;
}

/**
 * Once a second. Rates are frames per second over the last seconds; `generated` is the device's speed while it worked
 * for this session; `rate` is what was sent to the screen; `dropped` counts since the session began; switch times are
 * those the viewer reported, ms.
 */
export interface Stats {
  type: "stats";
  generated: number;
  rate: number;
  buffered_ms: number;
  dropped: number;
  sessions: number;
  switches: number;
  switch_p50: number | null;
  switch_p95: number | null;
}

/** How long a control took to reach the screen: from the click to the first picture that obeys `sequence`. */
export interface Switched {
  sequence: number;
  ms: number;
}

/** Starts over with the same person, garment and prompt, and another seed. */
export interface Take {
  type: "take";
  /** the viewer's own number, comes back in `accepted` */
  id: number;
  seed?: number | null;
}

/**
 * Something went wrong. The session goes on unless `fatal`, after which the server closes the socket. `id` is that of
 * the control that failed.
 */
export interface Trouble {
  type: "problem";
  problem: Problem;
  fatal: boolean;
  id: number | null;
}

/**
 * How to decode the frames from the next key frame on. `decoder` is the codec string for WebCodecs, or `image/jpeg`;
 * `width` and `height` are those of the encoded pictures.
 */
export interface Video {
  type: "video";
  codec: "h264" | "vp8" | "jpeg";
  decoder: string;
  width: number;
  height: number;
}

/** Whether anyone can see the picture: nothing is generated for a tab in the background. */
export interface Visible {
  type: "visible";
  visible: boolean;
}

/** Changes the garment; the latest wins. */
export interface Wear {
  type: "wear";
  /** the viewer's own number, comes back in `accepted` */
  id: number;
  /** id of a bundled or uploaded image */
  garment: string;
}

/** The answer to `hello`. `session` is secret: it resumes the stream within `resume_seconds` of a lost socket. */
export interface Welcome {
  type: "welcome";
  version: number;
  session: string;
  resumed: boolean;
  state: State;
  codec: "h264" | "vp8" | "jpeg";
  model: ModelInfo;
  ahead_ms: number;
  resume_seconds: number;
  wearing: string | null;
  person: string | null;
  prompt: string | null;
  seed: number | null;
  sequence: number;
  recording: boolean;
}

export type FromViewer =
  | Hello
  | Open
  | Wear
  | Say
  | Person
  | Take
  | Pause
  | Resume
  | Visible
  | Inspect
  | Record
  | Ack
  | Keyframe
  | Close;

export type ToViewer =
  | Welcome
  | StateChanged
  | Accepted
  | Video
  | Stats
  | Cache
  | Recording
  | Trouble;
