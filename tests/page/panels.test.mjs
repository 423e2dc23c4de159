import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ChunkLog, isSwitch } from "../../src/quickchange/serve/page/js/ui/chunklog.js";
import { Timing } from "../../src/quickchange/serve/page/js/ui/timing.js";
import { installDocument } from "./dom.mjs";

let byId;
beforeEach(() => (byId = installDocument()));

/** What the server says about a chunk. */
function message(frame, { ms = 100, moves = ["generate", "commit"], evicted = 0, segment = 0 } = {}) {
  const steps = moves.map((move) => ({ move, segment, evicted, frames: 3, withdrawn: 0, versions: [1, 1, 1], entries: [] }));
  return { type: "cache", window: 21, frame, obeys: 0, milliseconds: ms, steps };
}

const happened = (row) => row.children.at(-1).textContent;

test("a chunk with a move of a switch is a switch", () => {
  assert.ok(isSwitch(message(0, { moves: ["refresh", "withdraw", "generate"] })));
  assert.ok(!isSwitch(message(0)));
  assert.ok(!isSwitch(message(0, { moves: ["new prompt", "generate"] })));
});

test("bars are scaled to the longest chunk, the newest line is on top", () => {
  const log = new ChunkLog();
  log.add(message(0, { ms: 100 }));
  log.add(message(9, { ms: 400, moves: ["withdraw", "generate"] }));
  assert.deepEqual(byId("chunk-bars").children.map((bar) => bar.style.height), ["25%", "100%"]);
  assert.match(byId("bars-note").textContent, /400 ms/);
  const [newest, older] = byId("chunk-lines").children;
  assert.deepEqual([newest.children[0].textContent, happened(newest)], ["9", "switch"]);
  assert.equal(happened(older), "");
});

test("the count of evicted frames is that of the chunk, not of the stream", () => {
  const log = new ChunkLog();
  log.add(message(0, { evicted: 3 }));
  log.add(message(9, { evicted: 5 }));
  log.add(message(18, { evicted: 5 }));
  assert.deepEqual(byId("chunk-lines").children.map(happened), ["", "2 evicted", "3 evicted"]);
});

test("bars and lines are bounded", () => {
  const log = new ChunkLog();
  log.add(message(0, { ms: 900 }));
  for (let i = 1; i <= 70; i++) log.add(message(i));
  assert.equal(byId("chunk-bars").children.length, 64);
  assert.equal(byId("chunk-lines").children.length, 6);
  assert.equal(byId("chunk-bars").firstElementChild.style.height, "100%"); // the long one has left
});

test("times share one scale, and percentiles need five of them", () => {
  const timing = new Timing();
  for (const ms of [100, 200, 300, 400]) timing.add(ms, "Red tee");
  assert.equal(byId("timing-last").textContent, "400 ms");
  assert.equal(byId("timing-what").textContent, "Red tee");
  assert.equal(byId("timing-scale").textContent, "500 ms");
  assert.equal(byId("timing-percentiles").textContent, "");
  timing.add(1100, "Blue tee");
  assert.equal(byId("timing-scale").textContent, "1250 ms");
  assert.match(byId("timing-percentiles").textContent, /300 ms.*1100 ms/);
  assert.equal(byId("timing-dots").children.at(-1).style.left, "88%");
});

test("only the last times are kept", () => {
  const timing = new Timing();
  for (let i = 0; i < 30; i++) timing.add(100 + i, "");
  assert.equal(byId("timing-dots").children.length, 24);
});
