import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../src/quickchange/serve/page/js", import.meta.url));
const ALLOWED = {
  net: ["net"],
  video: ["video", "net"],
  state: ["state", "net"],
  ui: ["ui", "state", "net"],
};

const scripts = readdirSync(ROOT, { recursive: true }).filter((name) => name.endsWith(".js"));

test("every import finds its file, and points from ui to state to net", () => {
  for (const name of scripts) {
    const room = name.includes(sep) ? name.split(sep)[0] : null;
    const text = readFileSync(join(ROOT, name), "utf8");
    for (const [, target] of text.matchAll(/^(?:import|export) .*"(\..*)";$/gm)) {
      const path = relative(ROOT, join(ROOT, dirname(name), target));
      assert.ok(scripts.includes(path), `${name} imports ${target}, which is not there`);
      if (room) assert.ok(ALLOWED[room].includes(path.split(sep)[0]), `${name} may not import ${target}`);
    }
  }
});

test("every script is checked for types", () => {
  for (const name of scripts.filter((each) => !each.endsWith("theme-early.js"))) {
    assert.ok(readFileSync(join(ROOT, name), "utf8").startsWith("// @ts-check\n"), name);
  }
});
