import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Controller } from "../../src/quickchange/serve/page/js/state/controller.js";
import { Choices } from "../../src/quickchange/serve/page/js/ui/choices.js";
import { FakeStorage, header } from "./fakes.mjs";

const garment = (id) => ({ id, name: id, kind: "top", image: "" });
const ash = { id: "ash", name: "Ash", image: "" };
const welcome = {
  type: "welcome", state: "new", model: { kinds: ["top"] }, wearing: null, person: null, prompt: null, seed: null, sequence: 0,
};
const upload = { id: "u-1", role: "garment", kind: "top", preview: "data:," };
let sent, notes, events, parts, controller;

/** A list of choices with what the rack has beside them. */
function choices(items) {
  const list = new Choices();
  list.trainedOn = () => {};
  list.fill(items);
  return list;
}

beforeEach(() => {
  globalThis.sessionStorage = new FakeStorage();
  globalThis.document = { hidden: false };
  [sent, notes, events] = [[], [], []];
  const note = (name) => (...values) => events.push([name, ...values]);
  parts = {
    connection: { online: true, token: null, send: (message) => sent.push(message) },
    receiver: { restart: note("restart"), ack: note("ack"), rebase() {}, disconnect() {} },
    stage: { drawn: false, still() {}, caption() {}, clearCaption() {} },
    rack: choices([garment("red"), garment("blue")]),
    people: choices([ash]),
    prompt: { text: "turn", restore: note("restore"), refused: note("refused") },
    announcements: { take: 1, label() {}, opened: note("opened"), inForce: note("shown") },
    notify: (text, tone) => notes.push([text, tone]),
  };
  controller = new Controller(parts);
});

/** Opens a session that is live. */
function live() {
  controller.loaded();
  controller.welcome(welcome);
  controller.changed("live");
  sent.length = 0;
}

test("a session opens once both the lists and the welcome are there", () => {
  controller.welcome(welcome);
  assert.deepEqual(sent, []);
  controller.loaded();
  const [{ seed, ...open }] = sent;
  assert.deepEqual(open, { type: "open", person: "ash", garment: "red", prompt: "turn" });
  assert.ok(Number.isInteger(seed) && seed >= 0 && seed < 1_000_000);
  assert.equal(controller.state, "opening");
});

test("a click before that is what the session opens with", () => {
  controller.wear(garment("blue"), 0);
  controller.loaded();
  controller.welcome(welcome);
  assert.equal(sent[0].garment, "blue");
});

test("a control goes out once, and is announced with the first frame that obeys it", () => {
  live();
  controller.wear(garment("blue"), 0);
  controller.wear(garment("blue"), 1); // pending: not sent again
  assert.equal(sent.length, 1);
  const { id, ...message } = sent[0];
  assert.deepEqual(message, { type: "wear", garment: "blue" });
  controller.accepted({ type: "accepted", id, sequence: 4, seed: null });
  controller.displayed(header(0, { obeys: 3 }), 100);
  controller.displayed(header(1, { obeys: 4 }), 250);
  assert.deepEqual(controller.lastSwitch, { garment: "blue", ms: 250 });
  assert.deepEqual(events.filter(([name]) => name === "ack"), [["ack"]]);
  assert.deepEqual(controller.times(), [{ sequence: 4, ms: 250 }]);
});

test("a refused garment leaves the one that is on, and the viewer is told why", () => {
  live();
  parts.rack.setOn("red");
  controller.wear(garment("blue"), 0);
  const problem = { type: "", title: "Not found", status: 404, detail: "no garment blue", retry_after: null };
  controller.trouble({ type: "problem", problem, fatal: false, id: sent[0].id });
  assert.equal(parts.rack.next, null);
  assert.deepEqual(notes, [["no garment blue", "bad"]]);
  controller.wear(garment("blue"), 0); // can be asked for again
  assert.equal(sent.length, 2);
});

test("a resumed session keeps what it shows and gets what it missed", () => {
  live();
  parts.connection.online = false;
  controller.wear(garment("blue"), 0);
  assert.deepEqual(sent, []);
  parts.connection.online = true;
  controller.welcome({ ...welcome, state: "live", wearing: "red", person: "ash", prompt: "turn", sequence: 2 });
  assert.deepEqual(sent.map(({ type, garment }) => [type, garment]), [["wear", "blue"]]);
  assert.deepEqual(events.filter(([name]) => name === "restore"), [["restore", "turn"]]);
});

test("a lost session takes the viewer's uploads with it", () => {
  live();
  controller.wearUpload(upload, "Shirt", 0);
  assert.equal(sent[0].garment, "u-1");
  controller.lost();
  assert.equal(parts.rack.find("u-1"), null);
  assert.match(notes[0][0], /add them again/);
  sent.length = 0;
  controller.welcome(welcome);
  assert.equal(sent[0].garment, "red");
});

test("a pause stretches what is pending, so that its time is not told", () => {
  live();
  controller.say("wave", 0);
  const { id } = sent[0];
  controller.changed("paused");
  controller.changed("live");
  controller.accepted({ type: "accepted", id, sequence: 1, seed: null });
  controller.displayed(header(0, { obeys: 1 }), 9000);
  assert.deepEqual(controller.times(), []);
});

test("a take gets a seed and counts once it is accepted", () => {
  live();
  controller.take(0);
  assert.equal(parts.announcements.take, 1);
  controller.accepted({ type: "accepted", id: sent[0].id, sequence: 1, seed: sent[0].seed });
  assert.equal(parts.announcements.take, 2);
});
