import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Player } from "../../src/quickchange/serve/page/js/video/player.js";
import { FakePicture, FakeScreen, header } from "./fakes.mjs";

let screen, restore, drawn, shown, acks, player;

beforeEach(() => {
  screen = new FakeScreen();
  restore = screen.install();
  [drawn, shown, acks] = [[], [], []];
  player = new Player({
    draw: (picture) => drawn.push(picture),
    onshow: ({ number }) => shown.push(number),
    onack: (frame) => acks.push(frame),
  });
});
afterEach(() => restore());

/** A frame arrives and is decoded at once. */
function frame(number, options = {}) {
  const head = header(number, { arrived: screen.now, ...options });
  const picture = new FakePicture();
  player.arrived(head);
  player.push(picture, head);
  return picture;
}

test("the first frame of a stream is shown at the next refresh", () => {
  const picture = frame(0);
  screen.refresh(5);
  assert.deepEqual(drawn, [picture]);
  assert.ok(picture.closed);
  assert.equal(player.shown.number, 0);
});

test("a frame waits until it is due", () => {
  frame(0);
  screen.refresh(1);
  screen.now = 40;
  frame(1); // due 15 ms later, the least delay
  screen.refresh(45);
  assert.deepEqual(shown, [0]);
  screen.refresh(55);
  assert.deepEqual(shown, [0, 1]);
});

test("of several due frames only the newest is shown; the others count as skipped", () => {
  frame(0);
  screen.refresh(1);
  const late = frame(1);
  frame(2);
  screen.refresh(400);
  assert.deepEqual(shown, [0, 2]);
  assert.equal(player.skipped, 1);
  assert.ok(late.closed);
});

test("a newer epoch voids what is queued, and its first frame is shown at once", () => {
  frame(0);
  screen.refresh(1);
  const old = frame(1);
  frame(10, { epoch: 1, cut: true });
  frame(11, { epoch: 1 });
  assert.ok(old.closed);
  screen.refresh(2);
  assert.deepEqual(shown, [0, 10]);
});

test("a frame of an older epoch is closed unseen", () => {
  frame(5, { epoch: 2 });
  const old = new FakePicture();
  player.push(old, header(4, { epoch: 1 }));
  assert.ok(old.closed);
});

test("the queue is bounded", () => {
  const pictures = Array.from({ length: 20 }, (_, number) => frame(number));
  assert.equal(pictures.filter((picture) => picture.closed).length, 4);
  assert.equal(player.skipped, 4);
});

test("frames are acknowledged in time and never before they are shown", () => {
  screen.now = 1000;
  frame(0);
  assert.deepEqual(acks, []);
  screen.refresh(1001);
  assert.deepEqual(acks, [0]); // the last acknowledgement is long ago
  frame(1);
  screen.refresh(1100);
  assert.deepEqual(acks, [0]);
  screen.refresh(1200);
  assert.deepEqual(acks, [0, 1]);
});

test("ack says at once what is on the screen, and nothing where nothing is", () => {
  player.ack();
  assert.deepEqual(acks, []);
  frame(3);
  screen.refresh(1);
  player.ack();
  assert.equal(acks.at(-1), 3);
});

test("another stream starts over", () => {
  frame(7, { epoch: 3 });
  screen.refresh(1);
  const queued = frame(8, { epoch: 3 });
  player.restart();
  assert.ok(queued.closed);
  assert.equal(player.shown, null);
  frame(0);
  screen.refresh(2);
  assert.equal(player.shown.number, 0);
});

test("the rate counts the frames of the last two seconds", () => {
  frame(0);
  screen.refresh(1);
  assert.equal(player.rate, 0.5);
  screen.now = 3000;
  assert.equal(player.rate, 0);
});
