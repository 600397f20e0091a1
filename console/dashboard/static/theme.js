// Not a module: it runs before the first paint, so that no white page flashes in a dark room.
(function () {
  "use strict";
  try {
    document.documentElement.dataset.theme = localStorage.getItem("despensa.theme") || "auto";
  } catch {
    document.documentElement.dataset.theme = "auto"; // storage may be forbidden
  }
})();
