import assert from "node:assert/strict";
import { test } from "node:test";

import { Choices } from "../../src/quickchange/serve/page/js/ui/choices.js";

const item = (id, own = false) => ({ id, name: id, image: "", own });
const ids = (choices) => choices.items.map(({ id }) => id);

test("the viewer's own come first, the newest at the front, and survive a new list", () => {
  const choices = new Choices();
  choices.fill([item("a"), item("b")]);
  choices.add(item("x", true));
  choices.add(item("y", true));
  assert.deepEqual(ids(choices), ["y", "x", "a", "b"]);
  choices.add(item("x", true));
  choices.fill([item("c")]);
  assert.deepEqual(ids(choices), ["x", "y", "c"]);
  assert.equal(choices.first.id, "c");
  choices.removeOwn();
  assert.deepEqual(ids(choices), ["c"]);
});

test("what comes on is no longer next", () => {
  const choices = new Choices();
  choices.fill([item("a"), item("b")]);
  choices.setOn("a");
  choices.setNext("b");
  assert.deepEqual(["a", "b", "c"].map((id) => choices.stateOf(id)), ["on", "next", "idle"]);
  choices.setOn("b");
  assert.deepEqual(["a", "b"].map((id) => choices.stateOf(id)), ["idle", "on"]);
  assert.equal(choices.next, null);
});
