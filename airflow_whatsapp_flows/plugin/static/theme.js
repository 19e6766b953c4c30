"use strict";
// Runs before the page is painted, so that it never flashes in the wrong theme. Airflow keeps the chosen theme in the
// storage of its origin, which is that of these pages too, and a change of it is an event in every other page.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  const apply = () => {
    const theme = stored();
    const isDark = theme === "dark" || (theme !== "light" && system.matches);
    root.classList.toggle("dark", isDark);
    root.style.colorScheme = isDark ? "dark" : "light";
  };
  apply();
  window.addEventListener("storage", apply);
  system.addEventListener("change", apply);
  root.classList.toggle("alone", window.top === window);
})();
