/** The frame: header, routes, and what is shown when. */

import { showCases } from "./cases.js";
import { setNow, startClock, stopClock } from "./clock.js";
import { h, patch, visible } from "./dom.js";
import { showFind } from "./find.js";
import { parseInstant, preferredLanguage } from "./format.js";
import { showMonths } from "./months.js";
import { empty } from "./parts.js";
import { showRun } from "./run.js";
import { showStatement, speakState } from "./statement.js";
import { showStores } from "./stores.js";
import { Stream } from "./stream.js";
import { LANGUAGES, chooseLanguage, t } from "./words.js";
import { showWorkers } from "./workers.js";

const SHOW = { months: showMonths, run: showRun, cases: showCases, stores: showStores, workers: showWorkers, find: showFind };
const MENU = ["months", "cases", "stores", "workers"];
const THEMES = ["auto", "light", "dark"];
/** Ages in a view are rounded to minutes soon enough; the statement counts every second. */
const REFRESH_VIEW_S = 15;

const page = {
  language: remembered("language", LANGUAGES) ?? preferredLanguage(),
  theme: remembered("theme", THEMES) ?? "auto",
  route: parseRoute(),
  head: null,
  view: undefined, // not yet told; null is an answer
  connection: "waiting",
};

const stream = new Stream({ onView: take, onState: (state) => { page.connection = state; showFrame(); } });

function take({ head, view }) {
  page.head = head;
  page.view = view;
  if (stream.paused) startClock();
  setNow(parseInstant(head.now) ?? Date.now());
  if (stream.paused) stopClock();
  show();
}

function parseRoute() {
  const [, name, of] = /^#\/(\w+)(?:\/(.*))?$/s.exec(location.hash) ?? [];
  return Object.hasOwn(SHOW, name ?? "") ? { name, of: decoded(of ?? "") } : { name: "months", of: "" };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function go() {
  page.route = parseRoute();
  page.view = undefined;
  show();
  stream.follow(page.route);
  // As after a page that loads: reading starts at the top, and at the title.
  window.scrollTo(0, 0);
  document.getElementById("title").focus({ preventScroll: true });
}

function show() {
  keepingFocus(() => {
    showFrame();
    showMain();
  });
}

/** A row that moves up or down is taken out and put in again, and would lose the focus. */
function keepingFocus(change) {
  const focused = document.activeElement;
  change();
  if (focused?.isConnected && focused !== document.activeElement && focused !== document.body) focused.focus({ preventScroll: true });
}

function showFrame() {
  document.documentElement.lang = page.language;
  document.documentElement.dataset.theme = page.theme;
  document.title = visible(`${title()} · despensa`);
  patch(document.getElementById("skip"), t("skip"));
  patch(document.getElementById("top"), header());
  showHead();
}

function showHead() {
  const statement = document.getElementById("statement");
  statement.setAttribute("aria-label", t("statement"));
  patch(statement, showStatement(page.head, page.connection));
  speakState(document.getElementById("spoken-state"), page.head, page.connection);
}

function title() {
  if (page.route.name === "run") return t("title.run", { run: page.view?.row.run ?? page.route.of });
  if (page.route.name === "find") return t("title.find", { asked: page.route.of });
  return t(`nav.${page.route.name}`);
}

function showMain() {
  const { name, of } = page.route;
  const shown = page.view === undefined ? empty(t(page.connection === "broken" ? "server.gone" : "loading"))
    : SHOW[name](page.view, { of, refresh: show });
  patch(document.getElementById("main"), [
    h("h1", { key: "title", id: "title", tabindex: "-1" }, title()),
    h("div", { key: `${name}/${of}`, class: `view ${name}` }, shown),
  ]);
}

function header() {
  return [
    h("a", { class: "brand", href: "#/months" }, "despensa"),
    h("nav", { "aria-label": t("nav") }, h("ul", null, MENU.map((name) => h("li", { key: name },
      h("a", { href: `#/${name}`, "aria-current": page.route.name === name ? "page" : null }, t(`nav.${name}`)))))),
    h("form", { role: "search", class: "search", onsubmit: search },
      h("label", { for: "search", class: "hidden" }, t("search.label")),
      h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", maxlength: "100", placeholder: t("search.placeholder") }),
      h("button", { type: "submit" }, t("search"))),
    h("div", { class: "choices" },
      h("button", { type: "button", "aria-pressed": String(stream.paused), onclick: togglePause }, t(stream.paused ? "live.resume" : "live.pause")),
      choice("language", LANGUAGES, page.language),
      choice("theme", THEMES, page.theme)),
  ];
}

function choice(name, values, chosen) {
  const change = (event) => choose(name, event.target.value);
  return h("label", { key: name }, h("span", { class: "hidden" }, t(`choose.${name}`)),
    h("select", { onchange: change }, values.map((value) =>
      h("option", { key: value, value, selected: value === chosen }, t(`${name}.${value}`)))));
}

function choose(name, value) {
  page[name] = value;
  try {
    localStorage.setItem(`despensa.${name}`, value);
  } catch {
    // Where nothing may be stored the choice lasts as long as the page.
  }
  chooseLanguage(page.language);
  show();
}

function remembered(name, values) {
  try {
    const value = localStorage.getItem(`despensa.${name}`);
    return values.includes(value) ? value : null;
  } catch {
    return null;
  }
}

function togglePause() {
  if (stream.paused) startClock();
  else stopClock();
  stream.pause(!stream.paused);
}

function search(event) {
  event.preventDefault();
  const typed = document.getElementById("search").value.trim();
  if (typed) location.hash = `#/find/${encodeURIComponent(typed)}`;
}

let seconds = 0;

function tick() {
  seconds += 1;
  if (document.hidden) return;
  if (seconds % REFRESH_VIEW_S === 0) show();
  else showHead();
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view, not a place in it
  document.getElementById("title").focus();
});
window.addEventListener("hashchange", go);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
chooseLanguage(page.language);
show();
stream.follow(page.route);
setInterval(tick, 1000);
