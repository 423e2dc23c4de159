import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Switches } from "../../src/quickchange/serve/page/js/state/switches.js";

const [red, blue] = ["red", "blue"].map((id) => ({ id, name: id, kind: "top", image: "" }));
const ash = { id: "ash", name: "Ash", image: "" };
const fresh = { wearing: null, person: null, prompt: null, sequence: 0 };
let shown, switches;

beforeEach(() => {
  shown = [];
  switches = new Switches((done, ms) => shown.push([done.kind, done.target, ms]));
});

test("a control is over with the first frame that obeys it", () => {
  const { id } = switches.begin("wear", red, 100, false);
  switches.accepted({ id, sequence: 3 });
  assert.equal(switches.displayed(2, 150), false);
  assert.equal(switches.displayed(3, 400), true);
  assert.deepEqual(shown, [["wear", red, 300]]);
  assert.equal(switches.pending("wear"), null);
});

test("a frame may be faster than the answer", () => {
  const { id } = switches.begin("wear", red, 0, false);
  switches.displayed(5, 10);
  switches.accepted({ id, sequence: 5 });
  assert.equal(shown.length, 1);
});

test("of each kind the latest wins", () => {
  const first = switches.begin("wear", red, 0, false);
  const second = switches.begin("wear", blue, 50, false);
  switches.begin("say", "turn", 60, false);
  switches.accepted({ id: first.id, sequence: 1 });
  switches.displayed(1, 100);
  assert.deepEqual(shown, []);
  switches.accepted({ id: second.id, sequence: 2 });
  switches.displayed(2, 150);
  assert.deepEqual(shown, [["wear", blue, 100]]);
  assert.equal(switches.pending("say").target, "turn");
});

test("times are told once; a stretched one never", () => {
  const { id } = switches.begin("wear", red, 0, false);
  switches.accepted({ id, sequence: 1 });
  switches.displayed(1, 123.456);
  const paused = switches.begin("person", ash, 0, true);
  switches.accepted({ id: paused.id, sequence: 2 });
  switches.displayed(2, 500);
  assert.deepEqual(shown[1], ["person", ash, null]);
  assert.deepEqual(switches.drain(), [{ sequence: 1, ms: 123.5 }]);
  assert.deepEqual(switches.drain(), []);
});

test("what is under way can be stretched later", () => {
  const { id } = switches.begin("wear", red, 0, false);
  switches.stretch();
  switches.accepted({ id, sequence: 1 });
  switches.displayed(1, 9000);
  assert.deepEqual(shown, [["wear", red, null]]);
});

test("a refused control is given back and forgotten", () => {
  const { id } = switches.begin("wear", red, 0, false);
  assert.equal(switches.refused(id + 1), null);
  assert.equal(switches.refused(id).target, red);
  assert.equal(switches.pending("wear"), null);
});

test("after a lost socket, what the server does not know is said again", () => {
  const wear = switches.begin("wear", red, 0, false);
  const say = switches.begin("say", "turn", 0, false);
  switches.begin("take", null, 0, false);
  const again = switches.resumed({ ...fresh, person: "ash" });
  assert.deepEqual(again, [
    { type: "wear", id: wear.id, garment: "red" },
    { type: "say", id: say.id, prompt: "turn" },
  ]);
  assert.equal(switches.pending("take"), null); // a take is not repeated
});

test("after a lost socket, what the server knows is settled", () => {
  switches.begin("wear", red, 0, false);
  switches.begin("person", ash, 0, false);
  switches.begin("say", "turn", 0, false);
  const again = switches.resumed({ wearing: "red", person: "ash", prompt: "turn", sequence: 7 });
  assert.deepEqual(again, []);
  switches.displayed(7, 10);
  assert.deepEqual(shown.map(([kind]) => kind), ["wear", "person", "say"]);
});

test("another stream forgets everything", () => {
  switches.begin("wear", red, 0, false);
  switches.displayed(9, 10);
  switches.clear();
  assert.equal(switches.pending("wear"), null);
  const { id } = switches.begin("wear", blue, 0, false);
  switches.accepted({ id, sequence: 1 });
  assert.deepEqual(shown, []); // sequence 9 was of the stream before
});
