// @ts-check
/**
 * The 24 bytes before every frame. Their layout is that of `FrameHeader` in `quickchange.serve.protocol.frames`.
 *
 * @typedef {object} FrameHeader
 * @property {number} number of the frame in the stream
 * @property {number} obeys sequence id of the last control that the frame follows
 * @property {number} epoch grows with every flush; frames of older epochs are void
 * @property {number} mediaMs when the frame is due on the stream's clock, milliseconds
 * @property {boolean} key whether it can be decoded on its own
 * @property {boolean} cut whether it is the first frame of an epoch
 * @property {number} arrived when it came, on the clock of performance.now()
 */

export const VERSION = 1;
const KEY = 1;
const CUT = 2;
const LEAST = 24;

/**
 * @param {ArrayBuffer} message
 * @param {number} arrived when it came, performance.now()
 * @returns {{header: FrameHeader, data: Uint8Array<ArrayBuffer>} | null} null: not a frame of this version
 */
export function unpack(message, arrived) {
  if (message.byteLength < LEAST) return null;
  const view = new DataView(message);
  if (view.getUint8(0) !== VERSION) return null;
  const flags = view.getUint8(1);
  const header = {
    number: view.getUint32(4),
    obeys: view.getUint32(8),
    epoch: view.getUint32(12),
    mediaMs: (view.getUint32(16) * 2 ** 32 + view.getUint32(20)) / 1000,
    key: (flags & KEY) !== 0,
    cut: (flags & CUT) !== 0,
    arrived,
  };
  return { header, data: new Uint8Array(message, view.getUint16(2)) };
}
