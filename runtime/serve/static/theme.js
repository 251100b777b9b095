// Before anything is drawn, so that a dark room sees no white flash. Not a module: modules run after the first paint.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("edge-ad-theme"); } catch { /* storage may be switched off */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
