import assert from "node:assert/strict";
import { test } from "node:test";

import { PlayoutClock } from "../../src/quickchange/serve/page/js/video/clock.js";

test("a frame is due when the quickest one would have come, and the delay on top", () => {
  const clock = new PlayoutClock();
  clock.arrived(0, 1000);
  clock.arrived(40, 1060); // 20 ms late
  assert.equal(clock.due(80), 1080 + clock.delay);
});

test("a quicker frame moves the difference of the clocks", () => {
  const clock = new PlayoutClock();
  clock.arrived(0, 1000);
  clock.arrived(40, 1030); // 10 ms quicker than the first
  assert.equal(clock.due(0), 990 + clock.delay);
});

test("the quickest frame is forgotten after five seconds", () => {
  const clock = new PlayoutClock();
  clock.arrived(0, 1000);
  clock.arrived(5100, 6120); // 20 ms slower, and the first one is out of the memory
  assert.equal(clock.due(0), 1020 + clock.delay);
});

test("the delay grows at once with jitter, shrinks slowly and stays within its bounds", () => {
  const clock = new PlayoutClock();
  const least = clock.delay;
  clock.arrived(0, 1000);
  clock.ready(0, 1080);
  assert.equal(clock.delay, 82); // the wait and 2 ms
  for (let i = 0; i < 10; i++) clock.ready(0, 1000);
  assert.ok(clock.delay < 82 && clock.delay > least);
  for (let i = 0; i < 1000; i++) clock.ready(0, 1000);
  assert.ok(clock.delay - least < 0.01);
  clock.ready(0, 9000);
  for (let i = 0; i < 120; i++) clock.ready(0, 9000);
  assert.equal(clock.delay, 150);
});

test("one straggler changes nothing, a server whose clock stood still starts anew", () => {
  const clock = new PlayoutClock();
  clock.arrived(0, 1000);
  clock.arrived(40, 1640);
  assert.equal(clock.due(0), 1000 + clock.delay);
  for (const media of [80, 120, 160]) clock.arrived(media, media + 1600);
  assert.equal(clock.due(0), 1600 + clock.delay);
});

test("reset forgets the clocks, not the jitter", () => {
  const clock = new PlayoutClock();
  clock.arrived(0, 1000);
  clock.ready(0, 1080);
  clock.reset();
  clock.arrived(0, 50);
  assert.equal(clock.delay, 82);
  assert.equal(clock.due(0), 50 + 82);
});

test("the delay covers 95% of the frames: it ignores a rare straggler, not a frequent one", () => {
  const delays = [1, 10].map((late) => {
    const clock = new PlayoutClock();
    clock.arrived(0, 1000);
    for (let i = 0; i < 120; i++) clock.ready(0, i % 100 >= 100 - late ? 1100 : 1000);
    return clock.delay;
  });
  assert.deepEqual(delays.map((delay) => delay > 60), [false, true]);
});
