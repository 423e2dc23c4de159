// Classic script in <head>: it runs before the first paint, so that the page never flashes in the wrong colours.
// theme.js toggles them.
(function () {
  var chosen = null;
  try {
    chosen = JSON.parse(localStorage.getItem("quickchange.theme") || "null");
  } catch (error) {
    // storage may be forbidden; then the system decides
  }
  var dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen === "light" || chosen === "dark" ? chosen : dark ? "dark" : "light";
})();
