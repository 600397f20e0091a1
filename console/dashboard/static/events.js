/** Lines of the log, and failures grouped. Everything in a line is untrusted text. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { age, findLink, instant, logText, state, table } from "./parts.js";
import { t, word } from "./words.js";

/** What the reader typed to filter a list, by the list's key: it outlives the next message. */
const filters = new Map();

/** A list with a box that filters it. `more` lines were left out by the server. */
export function eventList({ key, events, zone, more = 0, refresh }) {
  const typed = (filters.get(key) ?? "").toLowerCase();
  const shown = typed ? events.filter((line) => textOf(line).includes(typed)) : events;
  const onFilter = (event) => {
    filters.set(key, event.target.value);
    refresh();
  };
  const labelId = `filter-${key}`;
  return [
    h("p", { key: "filter", class: "filter" },
      h("label", { for: labelId }, t("events.filter")), " ",
      h("input", { id: labelId, type: "search", autocomplete: "off", spellcheck: "false", oninput: onFilter, once: { value: filters.get(key) ?? "" } }), " ",
      h("span", { class: "quiet" }, t("events.shown", { n: shown.length, all: events.length }))),
    h("ol", { key: "events", class: "events" }, keyed(shown).map(([id, line]) => eventLine(id, line, zone))),
    more > 0 && h("p", { key: "more", class: "quiet" }, t("more.events", { n: more })),
  ];
}

/** Searching the JSON of a line finds names, values and instants alike. */
function textOf(line) {
  return JSON.stringify(line).toLowerCase();
}

/** A sealed line is known by its place; another by what it says, and by how often that was said before it. */
function keyed(lines) {
  const seen = new Map();
  return lines.map((line) => {
    const text = line.seq ? `seq ${line.seq}` : JSON.stringify(line);
    const count = (seen.get(text) ?? 0) + 1;
    seen.set(text, count);
    return [`${text} ${count}`, line];
  });
}

function eventLine(key, line, zone) {
  return h("li", { key, class: "event" },
    h("div", { class: "event-head" },
      state("level", line.level), " ", logText(line.event, "strong"), " ",
      line.seq > 0 && h("span", { class: "quiet" }, t("events.seq", { seq: line.seq })), " ",
      instant(line.timestamp, zone, { seconds: true }), " ",
      line.instance && h("span", { class: "quiet log" }, line.instance)),
    h("dl", { class: "fields" }, Object.entries(line.fields).map(([name, value]) =>
      h("div", { key: name }, h("dt", { class: "log" }, name), " ", h("dd", { class: "log" }, fieldValue(name, value, line.fields))))));
}

/** As it stands in the line; amounts also as money. */
function fieldValue(name, value, fields) {
  const amount = name.endsWith("_minor") && Number.isSafeInteger(value) && typeof fields.currency === "string";
  return amount ? [String(value), h("span", { class: "quiet" }, ` (${format.money(value, fields.currency)})`)] : String(value);
}

export function errorTable(errors, zone) {
  const columns = [
    { name: "error", label: t("column.error"), head: true },
    { name: "actor", label: t("column.actor") },
    { name: "count", label: t("column.count"), numeric: true },
    { name: "given_back", label: t("column.given_back"), numeric: true },
    { name: "first", label: t("column.first") },
    { name: "last", label: t("column.last") },
    { name: "subjects", label: t("column.subjects") },
  ];
  const rows = errors.map((error) => ({
    key: [error.actor, error.error, error.sqlstate, error.constraint].join("/"),
    cells: {
      error: [logText(error.error, "strong"), errorDetail(error)],
      actor: logText(word("actor", error.actor)),
      count: format.number(error.count),
      given_back: format.number(error.given_back),
      first: instant(error.first_at, zone),
      last: age(error.last_at, zone),
      subjects: subjects(error),
    },
  }));
  return table({ caption: t("errors.caption"), captionHidden: true, columns, rows });
}

function errorDetail(error) {
  const detail = [error.sqlstate && `SQLSTATE ${error.sqlstate}`, error.constraint].filter(Boolean).join(" · ");
  return detail && h("span", { class: "reason log" }, detail);
}

/** Batches can be looked up; notices stand with their run. */
function subjects(error) {
  return error.subjects.map((id, index) => [
    index > 0 && ", ",
    error.actor === "credit_batch" ? findLink(`batch ${id}`, String(id)) : String(id),
  ]);
}
