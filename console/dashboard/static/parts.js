/** Pieces that several views share: states, instants, tables, commands to copy. */

import { now } from "./clock.js";
import { h, visible } from "./dom.js";
import * as format from "./format.js";
import { t, word } from "./words.js";

const SIGNS = { good: "✓", busy: "▸", wait: "○", warn: "▲", bad: "✖", note: "·" };

/** Of each state, how much it needs attention. What is not named here is noteworthy and no more. */
const TONES = {
  city: {
    expected: "wait", due: "warn", missing: "bad", blocked: "warn", running: "busy", paused: "warn", completed: "good",
    completed_with_cases: "warn", cancelled: "warn",
  },
  run: {
    planned: "wait", approved: "wait", released: "busy", paused: "warn", completed: "good",
    completed_with_cases: "warn", cancelled: "warn",
  },
  notice: { due: "wait", delivered: "good", undelivered: "bad" },
  store: { ok: "good", failing: "warn", suspended: "bad", undelivered: "bad" },
  instance: { seen: "good", silent: "warn", missing: "bad" },
  file: { followed: "good", packed: "good", gone: "warn", unreadable: "bad" },
  level: { debug: "note", info: "note", warning: "warn", error: "bad", critical: "bad" },
};

/** Keeps a sign, or a number, on the line of what it belongs to. */
const NO_BREAK = "\u00a0";

/** A sign and a word: colour alone says nothing. */
export function state(domain, code) {
  return signed(TONES[domain]?.[code] ?? "note", word(domain, code));
}

export function signed(tone, ...children) {
  return h("span", { class: `state ${tone}` }, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[tone]), NO_BREAK, children);
}

/** Text that somebody else wrote: it wraps anywhere, and cannot reorder what stands beside it. */
export function logText(text, tag = "span") {
  return h(tag, { class: "log" }, text);
}

/** The city's local time, with UTC beside it. Without a zone, the reader's own. */
export function instant(text, zone, options) {
  if (!text) return format.NO_VALUE;
  const at = format.parseInstant(text);
  if (at === null) return logText(text);
  return h("time", { class: "instant", datetime: text },
    h("span", { class: "local" }, format.local(at, zone, options)), " ",
    h("span", { class: "utc" }, format.utc(at)));
}

/** How long ago, or until when; the instant itself is its title. */
export function age(text, zone) {
  if (!text) return format.NO_VALUE;
  const at = format.parseInstant(text);
  if (at === null) return logText(text);
  const title = `${format.local(at, zone)} · ${format.utc(at)}`;
  return h("time", { class: "age", datetime: text, title }, format.ago(at, now()));
}

/** Both: in views where there is room. */
export function instantAndAge(text, zone) {
  return text ? [instant(text, zone), " ", h("span", { class: "quiet" }, "(", age(text, zone), ")")] : format.NO_VALUE;
}

export function bar(part, whole) {
  const share = whole > 0 ? Math.min(1, part / whole) : 0;
  return h("span", { class: "bar", "aria-hidden": "true" }, h("span", { style: { "--share": share } }));
}

export function runLink(runId, run) {
  return h("a", { href: `#/run/${encodeURIComponent(runId)}`, class: "log" }, run);
}

export function findLink(typed, shown) {
  return h("a", { href: `#/find/${encodeURIComponent(typed)}` }, shown);
}

/**
 * A table that turns into cards where it is too wide. `columns`: {name, label, numeric, head}; `rows` and `foot`:
 * {key, tone, cells by column's name}. Roles are stated, because cards would lose them with their display.
 */
export function table({ key, caption, columns, rows, foot = [], wide = false, captionHidden = false }) {
  const named = columns.filter(Boolean);
  return h("table", { key, class: wide ? "wide" : null, role: "table" },
    h("caption", { class: captionHidden ? "hidden" : null }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, named.map((column) =>
      h("th", { key: column.name, scope: "col", role: "columnheader", class: column.numeric ? "numeric" : null }, column.label)))),
    h("tbody", { role: "rowgroup" }, rows.map((row) => tableRow(named, row))),
    foot.length > 0 && h("tfoot", { role: "rowgroup" }, foot.map((row) => tableRow(named, row))));
}

function tableRow(columns, row) {
  return h("tr", { key: row.key, role: "row", class: row.tone ?? null }, columns.map((column) => {
    const shared = { key: column.name, class: column.numeric ? "numeric" : null, "data-label": column.label };
    const content = row.cells[column.name] ?? "";
    return column.head
      ? h("th", { ...shared, scope: "row", role: "rowheader" }, content)
      : h("td", { ...shared, role: "cell" }, h("span", { class: "value" }, content));
  }));
}

/** Names and what they are; entries without a value are left out. */
export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) =>
    h("div", { key: name }, h("dt", null, name), h("dd", null, value))));
}

export function section(key, title, ...children) {
  return h("section", { key, "aria-labelledby": `title-${key}` }, h("h2", { id: `title-${key}` }, title), children);
}

/** A state of a view that has nothing to show. */
export function empty(title, ...children) {
  return h("div", { key: "empty", class: "empty" }, h("p", { class: "empty-title" }, title), h("p", null, children));
}

/** Commands with a button each that copies it. */
export function commands(list) {
  if (list.length === 0) return null;
  return h("ul", { class: "commands", "aria-label": t("copy.list") }, list.map((command) =>
    h("li", { key: command }, h("code", null, command), " ",
      h("button", { type: "button", "aria-label": t("copy.label", { command }), onclick: () => copy(command) }, t("copy")))));
}

/** What is seen is what is copied: a line break that hides in a command must not run it in the reader's shell. */
async function copy(command) {
  const done = await writeToClipboard(visible(command));
  say(t(done ? "copy.done" : "copy.failed", { command }));
}

/** Without HTTPS, beyond the loopback, browsers withhold their clipboard: the older way still works there. */
async function writeToClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus({ preventScroll: true });
    return done;
  }
}

/** For everybody: shown for a while, and read out. */
export function say(text) {
  const spoken = document.getElementById("spoken");
  spoken.textContent = visible(text);
  clearTimeout(spoken.despensaTimer);
  spoken.despensaTimer = setTimeout(() => { spoken.textContent = ""; }, 6000);
}
