// Classic script in <head>: runs before the first paint, so that no page flashes in the wrong colours. theme.js toggles.
(function () {
  var chosen = null;
  try {
    chosen = JSON.parse(localStorage.getItem("quickchange.theme") || "null");
  } catch (error) {
    // storage may be forbidden: the system's choice it is
  }
  var dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen === "light" || chosen === "dark" ? chosen : dark ? "dark" : "light";
})();
