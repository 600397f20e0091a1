/** The plain statement at the top of every view: complete up to where, or what is missing; and how long ago it spoke. */

import { now } from "./clock.js";
import { h, patch } from "./dom.js";
import * as format from "./format.js";
import { instant, logText, signed, state } from "./parts.js";
import { sentence, t, word } from "./words.js";

/** Of a list of troubles, so many are spelled out. */
const SHOWN_MAX = 5;

/** `connection`: live, paused, waiting, broken; `receivedAt`: the server's time of the last message. */
export function showStatement(head, connection) {
  if (head === null) {
    return [h("p", { key: "complete", class: "complete" }, connection === "broken" ? signed("bad", t("server.gone")) : t("loading"))];
  }
  return [
    h("p", { key: "complete", class: "complete" }, completeness(head)),
    h("p", { key: "last", class: "last-line" }, lastLine(head, connection)),
    connectionTold(head, connection),
    troubleList(head),
    attention(head),
    files(head),
  ];
}

function completeness(head) {
  if (head.from_seq === 0) return signed("wait", waiting(head));
  const upTo = { seq: head.to_seq, at: instant(head.to_at) };
  if (isIncomplete(head)) return signed("bad", sentence("statement.incomplete", upTo));
  if (head.books === "differ") return signed("bad", sentence("statement.differ", { ...upTo, n: head.books_differences }));
  if (head.books !== "agree") return signed("warn", sentence("statement.unchecked", { ...upTo, command: h("code", null, "despensa run reconcile") }));
  return signed("good", sentence("statement.complete", upTo));
}

function waiting(head) {
  const command = h("code", null, "despensa run start");
  return sentence(head.files.length === 0 ? "statement.no_files" : "statement.no_line", { command });
}

function isIncomplete(head) {
  return head.reading_failed !== "" || head.gaps.length > 0 || head.faults.length > 0 || head.missing.length > 0
    || head.files.some((file) => file.state === "unreadable");
}

export function isSilent(head) {
  const at = format.parseInstant(head.last_line_at);
  return at !== null && (now() - at) / 1000 > head.silent_after_s;
}

/** Counts by itself. Only while the page follows can it be said that the log is silent. */
function lastLine(head, connection) {
  const at = format.parseInstant(head.last_line_at);
  if (at === null) return t("last_line.none");
  const told = sentence("last_line", { age: h("time", { datetime: head.last_line_at, title: format.utc(at) }, format.ago(at, now())) });
  if (connection === "live" && isSilent(head)) return signed("bad", told, " ", h("strong", null, t("last_line.silent", { limit: format.duration(head.silent_after_s) })));
  return told;
}

function connectionTold(head, connection) {
  const at = instant(head.now);
  if (connection === "paused") return h("p", { key: "connection" }, signed("wait", sentence("live.paused", { at })));
  if (connection === "broken") return h("p", { key: "connection" }, signed("bad", sentence("live.broken", { at })));
  return null;
}

function troubleList(head) {
  const list = troubles(head);
  return list.length > 0 && h("ul", { key: "troubles", class: "troubles" }, list.map(([key, children]) => h("li", { key }, children)));
}

/** Each in a sentence that says what to do or what it means. */
function troubles(head) {
  const unreadable = head.files.filter((file) => file.state === "unreadable");
  const more = (list) => (list.length > SHOWN_MAX ? [["more", t("more.troubles", { n: list.length - SHOWN_MAX })]] : []);
  const some = (list, kind, told) => [
    ...list.slice(0, SHOWN_MAX).map((each, index) => [`${kind}-${index}`, signed("bad", told(each))]),
    ...more(list).map(([key, text]) => [`${kind}-${key}`, text]),
  ];
  return [
    ...(head.reading_failed ? [["reading", signed("bad", sentence("trouble.reading", { error: logText(head.reading_failed) }))]] : []),
    ...some(head.gaps, "gap", (gap) => t("trouble.gap", { n: gap.last_seq - gap.first_seq + 1, first: gap.first_seq, last: gap.last_seq })),
    ...some(head.faults, "fault", (fault) => t("trouble.fault", { seq: fault.seq, rule: word("rule", fault.rule) })),
    ...some(head.missing, "missing", (each) => sentence(each.since ? "trouble.missing" : "trouble.never", {
      instance: logText(each.instance), role: word("role", each.role), since: instant(each.since), seen: instant(each.seen_at),
    })),
    ...(head.missing_more > 0 ? [["missing-too", t("more.troubles", { n: head.missing_more })]] : []),
    ...some(unreadable, "file", (file) => sentence("trouble.unreadable", { file: logText(file.name) })),
    ...(head.books === "differ" ? [["books", signed("bad", sentence("trouble.books", { n: head.books_differences, at: instant(head.books_at), command: h("code", null, "despensa run reconcile") }))]] : []),
    ...head.restored.map((each) => [`restored-${each.forgotten_seq}`, signed("note", sentence("trouble.restored", {
      n: each.forgotten, at: instant(each.at), first: each.kept_seq + 1, last: each.forgotten_seq,
    }))]),
    ...(head.from_seq > 1 ? [["from", signed("note", t("trouble.from", { seq: head.from_seq }))]] : []),
  ];
}

/** What asks for somebody, with the way to it. */
function attention(head) {
  const list = [
    [head.slots_missing, "#/months", "attention.slots", "bad"],
    [head.cases_waiting, "#/cases", "attention.cases", "warn"],
    [head.stores_failing, "#/stores", "attention.stores", "warn"],
  ].filter(([count]) => count > 0);
  return list.length > 0 && h("ul", { key: "attention", class: "attention" }, list.map(([count, href, key, tone]) =>
    h("li", { key }, h("a", { href }, signed(tone, t(key, { n: count }))))));
}

function files(head) {
  if (head.files.length === 0) return null;
  const damaged = head.files.reduce((sum, file) => sum + file.torn + file.foreign, 0);
  return h("details", { key: "files", class: "files" },
    h("summary", null, t("files.summary", { n: head.files.length }), damaged > 0 && [" ", signed("warn", t("files.damaged", { n: damaged }))]),
    h("ul", null, head.files.map((file) => h("li", { key: file.name }, logText(file.name), " ", state("file", file.state), " ",
      h("span", { class: "quiet" }, format.bytes(file.size),
        file.torn > 0 && ` · ${t("files.torn", { n: file.torn })}`, file.foreign > 0 && ` · ${t("files.foreign", { n: file.foreign })}`)))),
    h("p", { class: "quiet" }, booksTold(head),
      " · despensa ", logText(head.version)));
}

function booksTold(head) {
  const at = { at: instant(head.books_at) };
  if (head.books === "agree") return sentence("books.agree", at);
  return head.books === "differ" ? sentence("books.differ", at) : t("books.unknown");
}

/** Read out when it changes: what the statement comes to, without the numbers that change all the time. */
export function speakState(node, head, connection) {
  if (head === null) return;
  const parts = [
    connection === "broken" && t("server.gone"),
    connection === "paused" && t("live.paused.short"),
    head.from_seq === 0 ? t("spoken.waiting") : t(isIncomplete(head) ? "spoken.incomplete" : head.books === "differ" ? "spoken.differ" : "spoken.complete"),
    connection === "live" && isSilent(head) && t("spoken.silent"),
    head.slots_missing > 0 && t("attention.slots", { n: head.slots_missing }),
  ];
  patch(node, parts.filter(Boolean).join(" "));
}
