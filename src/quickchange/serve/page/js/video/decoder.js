// @ts-check
/**
 * Decoders with one interface: WebCodecs for H.264 and VP8, createImageBitmap for JPEG.
 *
 * @typedef {import("../net/header.js").FrameHeader} FrameHeader
 * @typedef {import("../net/protocol.js").Video} Video
 * @typedef {VideoFrame | ImageBitmap} Picture the receiver owns it and must close() it
 * @typedef {{push(header: FrameHeader, data: Uint8Array<ArrayBuffer>): void, close(): void}} Decoder
 * @typedef {{onpicture(picture: Picture, header: FrameHeader): void, onerror(error: Error): void,
 *   onneedkey(): void}} Listener
 */

const CANDIDATES = /** @type {const} */ ([["h264", "avc1.42E01F"], ["vp8", "vp8"]]);
const MOST_UNDECODED = 24; // one second behind: these frames would be too late anyway
const KEY_EVERY_MS = 500;

/**
 * Lists what this browser decodes, best first. JPEG always works.
 * @returns {Promise<import("../net/connection.js").Codec[]>}
 */
export async function supportedCodecs() {
  /** @type {import("../net/connection.js").Codec[]} */
  const found = [];
  // WebCodecs needs a secure context. Over plain HTTP from another host only JPEG is left.
  if (typeof VideoDecoder === "function") {
    for (const [name, codec] of CANDIDATES) {
      try {
        if ((await VideoDecoder.isConfigSupported({ codec, optimizeForLatency: true })).supported) found.push(name);
      } catch {
        // some browsers throw on an unknown codec string: not supported
      }
    }
  }
  return [...found, "jpeg"];
}

/**
 * @param {Video} video
 * @param {Listener} listener
 * @returns {Decoder}
 */
export function createDecoder(video, listener) {
  return video.codec === "jpeg" ? new JpegDecoder(listener) : new StreamDecoder(video, listener);
}

class StreamDecoder {
  /** @type {Map<number, FrameHeader>} */
  #headers = new Map();
  #timestamp = 0;
  #needKey = true;
  #askedAt = -Infinity;
  #listener;
  #decoder;

  /** @param {Video} video @param {Listener} listener */
  constructor(video, listener) {
    this.#listener = listener;
    this.#decoder = new VideoDecoder({
      output: (frame) => this.#output(frame),
      error: (error) => listener.onerror(error),
    });
    this.#decoder.configure({ codec: video.decoder, optimizeForLatency: true });
  }

  /** @param {FrameHeader} header @param {Uint8Array<ArrayBuffer>} data */
  push(header, data) {
    if (this.#decoder.state !== "configured") return;
    if (this.#decoder.decodeQueueSize > MOST_UNDECODED) this.#needKey = true;
    if (this.#needKey && !header.key) {
      if (header.arrived - this.#askedAt < KEY_EVERY_MS) return;
      this.#askedAt = header.arrived;
      this.#listener.onneedkey();
      return;
    }
    this.#needKey = false;
    // The timestamp only finds the header again. Media times would not do: two frames may share one.
    this.#timestamp += 1000;
    this.#headers.set(this.#timestamp, header);
    try {
      this.#decoder.decode(
        new EncodedVideoChunk({ type: header.key ? "key" : "delta", timestamp: this.#timestamp, data }),
      );
    } catch (error) {
      this.#listener.onerror(/** @type {Error} */ (error));
    }
  }

  /** @param {VideoFrame} frame */
  #output(frame) {
    const header = this.#headers.get(frame.timestamp);
    for (const timestamp of this.#headers.keys()) if (timestamp <= frame.timestamp) this.#headers.delete(timestamp);
    if (header) this.#listener.onpicture(frame, header);
    else frame.close();
  }

  close() {
    this.#headers.clear();
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }
}

class JpegDecoder {
  /** @type {Promise<void>} */
  #last = Promise.resolve();
  #waiting = 0;
  #closed = false;
  #listener;

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  /** @param {FrameHeader} header @param {Uint8Array<ArrayBuffer>} data */
  push(header, data) {
    if (this.#waiting > 4 && !header.cut) return; // JPEG frames are independent: skipping some is harmless
    this.#waiting += 1;
    const decoded = createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    decoded.catch(() => {}); // handled below, in order
    this.#last = this.#last.then(async () => {
      try {
        const picture = await decoded;
        if (this.#closed) picture.close();
        else this.#listener.onpicture(picture, header);
      } catch (error) {
        if (!this.#closed) this.#listener.onerror(/** @type {Error} */ (error));
      } finally {
        this.#waiting -= 1;
      }
    });
  }

  close() {
    this.#closed = true;
  }
}
