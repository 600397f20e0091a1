/** A run with its course. */

import { caseGroup } from "./cases.js";
import { chart } from "./charts.js";
import { h } from "./dom.js";
import { errorTable, eventList } from "./events.js";
import * as format from "./format.js";
import { noticeTable } from "./notices.js";
import { age, bar, commands, empty, facts, instant, logText, section, signed, state } from "./parts.js";
import { blockedWord, sentence, t } from "./words.js";

const INSTANTS = ["opens_at", "planned_at", "approved_at", "released_at", "first_credit_at", "last_credit_at", "completed_at"];

export function showRun(view, { of, refresh }) {
  if (view === null) return empty(t("run.unknown", { of }), sentence("run.unknown.hint", { months: h("a", { href: "#/months" }, t("nav.months")) }));
  const { row, time_zone: zone } = view;
  return [
    h("p", { key: "about" }, logText(view.name || view.location, "strong"), " ",
      h("span", { class: "quiet log" }, `${view.location} · ${view.programme}`), " · ", format.cycleName(view.cycle), " · ",
      t("run.part", { part: row.part }), " · ", h("span", { class: "quiet log" }, zone)),
    h("p", { key: "state" }, state("run", row.state), row.late && [" ", signed("warn", t("late"))],
      row.blocked && [" ", h("span", { class: "log" }, blockedWord(row.blocked))]),
    numbers(view),
    h("div", { key: "act" }, commands(view.commands)),
    section("course", t("run.course"), course(view, refresh)),
    section("times", t("run.times"), times(view)),
    section("batches", t("run.batches"), batches(view)),
    section("errors", t("run.errors"), view.errors.length > 0 ? errorTable(view.errors, zone) : nothing("errors.none")),
    section("notices", t("run.notices"), view.notices.length > 0 ? noticeTable(view.notices, zone) : nothing("notices.none")),
    section("cases", t("run.cases"), view.cases.length > 0
      ? view.cases.map((group) => caseGroup(group, { ofRun: true }))
      : nothing("cases.none.run")),
    section("events", t("run.events"), eventList({ key: `run-${row.run_id}`, events: view.events, zone, more: view.more, refresh })),
  ];
}

function nothing(key) {
  return h("p", { class: "quiet" }, t(key));
}

function numbers(view) {
  const { row, currency } = view;
  const difference = row.planned_minor - row.credited_minor;
  return h("dl", { key: "numbers", class: "numbers" }, [
    [t("column.families"), format.number(row.planned)],
    [t("column.credited"), [format.number(row.credited), " ", h("span", { class: "quiet" }, format.percent(row.credited, row.planned)), bar(row.credited, row.planned)]],
    [t("column.cases"), row.cases > 0 ? signed("warn", format.number(row.cases)) : format.number(row.cases)],
    [t("column.not_owed"), format.number(row.not_owed)],
    [t("column.expected"), format.money(row.planned_minor, currency)],
    [t("column.credited_amount"), format.money(row.credited_minor, currency)],
    [t("column.difference"), format.money(difference, currency)],
    [t("column.stores_told"), row.stores > 0 ? t("stores.told", { told: row.stores_told, all: row.stores }) : format.NO_VALUE],
    [t("column.remaining"), format.duration(row.remaining_s)],
  ].map(([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value))));
}

/** What has come, in the order in which it came; what has not stays to be seen. */
function times(view) {
  return h("ol", { class: "timeline" }, INSTANTS.map((name) =>
    h("li", { key: name, class: view[name] ? "done" : "open" },
      h("span", { class: "what" }, t(`run.${name}`)), " ",
      view[name] ? [instant(view[name], view.time_zone, { seconds: true }), " ", h("span", { class: "quiet" }, "(", age(view[name], view.time_zone), ")")]
        : h("span", { class: "quiet" }, t("run.not_yet")))));
}

function batches(view) {
  return facts([
    [t("batches.planned"), format.number(view.batches)],
    [t("batches.done"), format.number(view.batches_done)],
    [t("batches.open"), format.number(view.batches_open)],
    [t("batches.retried"), format.number(view.batches_retried)],
    [t("batches.split"), format.number(view.batches_split)],
    [t("attempts.all"), format.number(view.attempts)],
    [t("attempts.failed"), view.attempts_failed > 0 ? signed("warn", format.number(view.attempts_failed)) : format.number(0)],
  ]);
}

function course(view, refresh) {
  const { start_s: startS, step_s: stepS, values } = view.course;
  if (values.length === 0) return nothing("run.course.none");
  let sum = 0;
  const cumulative = values.map((value) => (sum += value));
  const most = values.indexOf(Math.max(...values));
  const at = (place) => format.timeOfDay((startS + place * stepS) * 1000, view.time_zone, { seconds: stepS < 60 });
  const step = format.duration(stepS);
  const summary = t("run.course.summary", { n: sum, from: at(0), to: at(values.length - 1), most: values[most], at: at(most), step });
  return chart({
    key: `course-${view.row.run_id}`, title: t("run.course.title"), summary, startS, stepS, zone: view.time_zone, refresh,
    series: [
      { label: t("run.course.step", { step }), values, color: "--chart-bars" },
      { label: t("run.course.cumulative"), values: cumulative, color: "--chart-line", line: true, right: true },
    ],
  });
}
