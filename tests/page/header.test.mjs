import assert from "node:assert/strict";
import { test } from "node:test";

import { unpack, VERSION } from "../../src/quickchange/serve/page/js/net/header.js";

/** A frame as the server packs it: big-endian, 24 bytes, then the picture. */
function pack({ version = VERSION, flags = 0, size = 24, number = 1, obeys = 2, epoch = 3, us = 0n, data = [9, 8] } = {}) {
  const message = new ArrayBuffer(size + data.length);
  const view = new DataView(message);
  view.setUint8(0, version);
  view.setUint8(1, flags);
  view.setUint16(2, size);
  view.setUint32(4, number);
  view.setUint32(8, obeys);
  view.setUint32(12, epoch);
  view.setBigUint64(16, us);
  new Uint8Array(message).set(data, size);
  return message;
}

test("all fields are read", () => {
  const { header, data } = unpack(pack({ us: 41_667n }), 5);
  assert.deepEqual(header, { number: 1, obeys: 2, epoch: 3, mediaMs: 41.667, key: false, cut: false, arrived: 5 });
  assert.deepEqual([...data], [9, 8]);
});

test("flags are told apart", () => {
  for (const flags of [0, 1, 2, 3]) {
    const { header } = unpack(pack({ flags }), 0);
    assert.deepEqual([header.key, header.cut], [Boolean(flags & 1), Boolean(flags & 2)]);
  }
});

test("times beyond 32 bits and the largest numbers keep their value", () => {
  const { header } = unpack(pack({ number: 2 ** 32 - 1, us: 2n ** 33n }), 0);
  assert.equal(header.number, 4294967295);
  assert.equal(header.mediaMs, 2 ** 33 / 1000);
});

test("a longer header is skipped by its own size", () => {
  assert.deepEqual([...unpack(pack({ size: 32 }), 0).data], [9, 8]);
});

test("another version and too few bytes are no frame", () => {
  assert.equal(unpack(pack({ version: VERSION + 1 }), 0), null);
  assert.equal(unpack(new ArrayBuffer(23), 0), null);
});
