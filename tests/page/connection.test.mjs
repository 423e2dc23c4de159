import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Connection } from "../../src/quickchange/serve/page/js/net/connection.js";

/** A WebSocket that the test speaks through. */
class FakeSocket {
  static OPEN = 1;
  static all = [];
  readyState = 0;
  sent = [];

  constructor(url) {
    this.url = String(url);
    FakeSocket.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  say(message) {
    this.onmessage({ data: message instanceof ArrayBuffer ? message : JSON.stringify(message) });
  }

  end(code) {
    this.readyState = 3;
    this.onclose({ code });
  }
}

const welcome = { type: "welcome", session: "secret", resumed: false };
const problem = (kind, status, retry_after = null) => ({
  type: "problem",
  fatal: true,
  id: null,
  problem: { type: `urn:quickchange:problem:${kind}`, title: kind, status, detail: `it is ${kind}`, retry_after },
});
const last = () => FakeSocket.all.at(-1);
let kept, connection, phases;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  FakeSocket.all = [];
  globalThis.WebSocket = FakeSocket;
  globalThis.location = { href: "https://studio.example/" };
  globalThis.addEventListener = () => {};
  kept = new Map();
  const store = { get: (key) => kept.get(key) ?? null, set: (key, value) => kept.set(key, value) };
  connection = new Connection(["vp8", "jpeg"], store);
  phases = [];
  connection.on("phase", (phase) => phases.push(phase.name));
  connection.connect();
});
afterEach(() => mock.timers.reset());

/** The server takes the viewer in. */
function greet(message = welcome) {
  last().open();
  last().say(message);
}

test("the first message is hello, and the welcome's token is kept", () => {
  assert.equal(last().url, "wss://studio.example/v1/stream");
  greet();
  assert.deepEqual(last().sent, [{ type: "hello", version: 1, codecs: ["vp8", "jpeg"] }]);
  assert.equal(kept.get("session"), "secret");
  assert.ok(connection.online);
});

test("nothing goes out before the welcome", () => {
  last().open();
  assert.equal(connection.send({ type: "pause" }), false);
  last().say(welcome);
  assert.equal(connection.send({ type: "pause" }), true);
});

test("a lost socket is resumed with the token", () => {
  greet();
  last().end(1006);
  assert.equal(connection.phase.name, "reconnecting");
  mock.timers.tick(300);
  greet({ ...welcome, resumed: true });
  assert.equal(last().sent[0].resume, "secret");
  assert.equal(connection.resumes, 1);
});

test("a session that the server no longer knows is given up, and a new one follows", () => {
  greet();
  let lost = 0;
  connection.on("lost", () => (lost += 1));
  last().say(problem("unknown-session", 404));
  last().end(1008);
  assert.equal(lost, 1);
  last().open();
  assert.equal(last().sent[0].resume, undefined);
});

test("a full server is asked again when it says so", () => {
  last().open();
  last().say(problem("busy", 503, 8));
  last().end(1013);
  assert.equal(connection.phase.name, "busy");
  const sockets = FakeSocket.all.length;
  mock.timers.tick(7999);
  assert.equal(FakeSocket.all.length, sockets);
  mock.timers.tick(1);
  assert.equal(FakeSocket.all.length, sockets + 1);
});

test("a refused viewer is not connected again", () => {
  last().open();
  last().say(problem("unauthorized", 401));
  last().end(1008);
  assert.equal(connection.phase.name, "refused");
  assert.equal(connection.phase.detail, "it is unauthorized");
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
});

test("another tab with the same session keeps it", () => {
  greet();
  last().end(4001);
  mock.timers.tick(60_000);
  assert.deepEqual([connection.phase.name, FakeSocket.all.length], ["elsewhere", 1]);
});

test("an old socket says nothing any more", () => {
  greet();
  const old = last();
  connection.connect();
  let frames = 0;
  connection.on("frame", () => (frames += 1));
  old.say(new ArrayBuffer(30));
  old.end(1006);
  assert.equal(frames, 0);
  assert.equal(FakeSocket.all.length, 2);
});

test("messages arrive under their type; what is not JSON is ignored", () => {
  greet();
  const got = [];
  connection.on("state", (message) => got.push(message.state));
  connection.on("frame", (data) => got.push(data.byteLength));
  last().onmessage({ data: "{" });
  last().say({ type: "state", state: "live" });
  last().say(new ArrayBuffer(7));
  assert.deepEqual(got, ["live", 7]);
});

test("waits grow from attempt to attempt, up to a limit", async (context) => {
  context.mock.method(Math, "random", () => 1); // the longest wait that chance allows
  context.mock.method(performance, "now", () => 0);
  globalThis.fetch = () => Promise.reject(new TypeError("unreachable"));
  const waits = [];
  for (let attempt = 0; attempt < 7; attempt++) {
    last().end(1006);
    await new Promise((resolve) => setImmediate(resolve)); // the page asks why, and nobody answers
    waits.push(connection.phase.retryAt);
    mock.timers.tick(5001);
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
});

test("while the model warms up, the server is asked again and no socket is opened", async () => {
  let status = 503;
  globalThis.fetch = () => Promise.resolve(new Response("", { status }));
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  last().end(1006);
  await settle();
  assert.equal(connection.phase.name, "warming");
  mock.timers.tick(1000);
  await settle();
  assert.deepEqual([connection.phase.name, FakeSocket.all.length], ["warming", 1]);
  status = 200;
  mock.timers.tick(1000);
  await settle();
  assert.equal(FakeSocket.all.length, 2);
});

test("starting over closes the session and forgets the token", () => {
  greet();
  const old = last();
  connection.startOver();
  assert.deepEqual(old.sent.at(-1), { type: "close" });
  assert.equal(kept.get("session"), null);
  last().open();
  assert.equal(last().sent[0].resume, undefined);
});
