// @ts-check
/** The 24 bytes before every frame; the layout is FrameHeader in serve/protocol.py. */

export const VERSION = 1;
const KEY = 1;
const CUT = 2;
const LEAST = 24;

/**
 * @param {ArrayBuffer} message
 * @param {number} arrived when it came, performance.now()
 * @returns {{header: import("./types.js").FrameHeader, data: Uint8Array} | null} null: not of this version
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
