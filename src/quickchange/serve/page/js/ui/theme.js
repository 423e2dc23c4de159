// @ts-check
/** Light and dark colours: those of the system until the viewer chooses. */
import { byId, inside } from "./dom.js";
import { browser } from "../state/storage.js";

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function show() {
  const dark = root.dataset.theme === "dark";
  const button = byId("theme");
  const label = dark ? "Use light colours" : "Use dark colours";
  button.setAttribute("aria-label", label);
  button.title = label;
  inside(button, "use").setAttribute("href", dark ? "#i-sun" : "#i-moon");
}

export function toggleTheme() {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  browser.set("theme", root.dataset.theme);
  show();
}

export function startTheme() {
  byId("theme").addEventListener("click", toggleTheme);
  system.addEventListener("change", () => {
    if (browser.get("theme")) return;
    root.dataset.theme = system.matches ? "dark" : "light";
    show();
  });
  show();
}
