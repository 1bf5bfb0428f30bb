// Runs before the page is drawn, so that no wrong colours flash up.
(function () {
  "use strict";
  var root = document.documentElement, key = "llmjoules-theme", stored = null;
  root.classList.add("js");
  try { stored = localStorage.getItem(key); } catch (error) { /* storage may be shut: the system's choice then holds */ }
  if (stored === "light" || stored === "dark") { root.dataset.theme = stored; }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function changed() { document.dispatchEvent(new Event("themechange")); }

  document.addEventListener("DOMContentLoaded", function () {
    var button = document.querySelector("[data-theme-toggle]");
    button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", function () {
      root.dataset.theme = isDark() ? "light" : "dark";
      button.setAttribute("aria-pressed", String(isDark()));
      try { localStorage.setItem(key, root.dataset.theme); } catch (error) { /* it holds for this page */ }
      changed();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  });
})();
