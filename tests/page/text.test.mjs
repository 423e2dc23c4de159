import assert from "node:assert/strict";
import { test } from "node:test";

import { clockTime, errorText, milliseconds, sentence } from "../../src/quickchange/serve/page/js/ui/text.js";

test("short times are milliseconds, long ones seconds", () => {
  assert.equal(milliseconds(412.4), "412 ms");
  assert.equal(milliseconds(9994), "9994 ms");
  assert.equal(milliseconds(9995), "10.0 s");
});

test("a recording's time", () => {
  assert.equal(clockTime(0.9), "0:00");
  assert.equal(clockTime(61), "1:01");
  assert.equal(clockTime(600), "10:00");
});

test("the server's words become a sentence", () => {
  assert.equal(sentence(" every place is taken "), "Every place is taken.");
  assert.equal(sentence("What?"), "What?");
  assert.equal(sentence("  "), "");
  assert.equal(errorText(new Error("too large")), "Too large.");
  assert.equal(errorText("odd"), "Odd.");
});
