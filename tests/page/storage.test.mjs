import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { browser, tab } from "../../src/quickchange/serve/page/js/state/storage.js";
import * as uploads from "../../src/quickchange/serve/page/js/state/uploads-store.js";
import { FakeStorage } from "./fakes.mjs";

/** The browser's storages; a function stands for one that throws. */
function install(session, local) {
  const get = (value) => () => (typeof value === "function" ? value() : value);
  Object.defineProperty(globalThis, "sessionStorage", { configurable: true, get: get(session) });
  Object.defineProperty(globalThis, "localStorage", { configurable: true, get: get(local) });
}

const forbidden = () => {
  throw new DOMException("forbidden", "SecurityError");
};
const upload = (id, role, kind = null) => ({ id, role, kind, recognised: true, width: 1, height: 1, preview: "data:," });
const list = () => ({ items: [], add(item) { this.items.push(item); } });

beforeEach(() => install(new FakeStorage(), new FakeStorage()));

test("values come back; null removes them", () => {
  tab.set("session", "abc");
  assert.equal(tab.get("session"), "abc");
  assert.equal(browser.get("session"), null);
  tab.set("session", null);
  assert.equal(tab.get("session"), null);
  assert.equal(sessionStorage.items.size, 0);
});

test("damaged and forbidden storage counts as empty", () => {
  sessionStorage.setItem("quickchange.session", "{");
  assert.equal(tab.get("session"), null);
  install(forbidden, forbidden);
  tab.set("session", "abc");
  assert.equal(tab.get("session"), null);
});

test("a full storage is no error", () => {
  const full = new FakeStorage();
  full.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  install(full, full);
  browser.set("theme", "dark");
  assert.equal(browser.get("theme"), null);
});

test("uploads are found again by role", () => {
  const kept = uploads.keep(upload("u-1", "garment", "bottom"), "Skirt");
  uploads.keep(upload("u-2", "person"), "Me");
  assert.deepEqual(kept, { id: "u-1", name: "Skirt", kind: "bottom", image: "data:,", own: true });
  const [rack, people] = [list(), list()];
  uploads.recall(rack, people);
  assert.deepEqual(rack.items, [kept]);
  assert.deepEqual(people.items.map((person) => person.name), ["Me"]);
});

test("forgetting says whether there was anything", () => {
  assert.equal(uploads.forget(), false);
  uploads.keep(upload("u-1", "garment", "top"), "Shirt");
  assert.equal(uploads.forget(), true);
  assert.equal(uploads.forget(), false);
});
