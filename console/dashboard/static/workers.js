/** Workers, queues and their troubles. */

import { chart } from "./charts.js";
import { h } from "./dom.js";
import { errorTable, eventList } from "./events.js";
import * as format from "./format.js";
import { age, empty, facts, instant, logText, runLink, section, signed, state, table } from "./parts.js";
import { sentence, t, word } from "./words.js";

export function showWorkers(view, { refresh }) {
  return [
    section("instances", t("workers.instances"), view.instances.length > 0 ? instanceTable(view.instances)
      : empty(t("workers.empty"), sentence("workers.empty.hint", { worker: h("code", null, "despensa worker"), scheduler: h("code", null, "despensa scheduler") }))),
    section("attempts", t("workers.attempts"), attempts(view, refresh)),
    section("durations", t("workers.durations"), view.durations.length > 0 ? durationTable(view.durations) : nothing("attempts.none")),
    section("open", t("workers.open_batches"), view.open_batches.length > 0 ? openTable(view.open_batches) : nothing("batches.none_open")),
    section("errors", t("run.errors"), view.errors.length > 0 ? errorTable(view.errors) : nothing("errors.none")),
    section("troubles", t("workers.troubles"), view.troubles.length > 0
      ? eventList({ key: "troubles", events: view.troubles, refresh }) : nothing("workers.no_troubles")),
  ];
}

function nothing(key) {
  return h("p", { class: "quiet" }, t(key));
}

function instanceTable(instances) {
  const columns = [
    { name: "instance", label: t("column.instance"), head: true },
    { name: "role", label: t("column.role") },
    { name: "state", label: t("column.state") },
    { name: "last", label: t("column.last_seen") },
    { name: "first", label: t("column.first_seen") },
  ];
  const rows = instances.map((each) => ({
    key: `${each.role}/${each.instance}`,
    tone: each.state === "missing" ? "row-bad" : null,
    cells: {
      instance: logText(each.instance), role: word("role", each.role), state: state("instance", each.state),
      last: age(each.last_at), first: instant(each.first_at),
    },
  }));
  return table({ caption: t("workers.instances"), captionHidden: true, columns, rows });
}

function attempts(view, refresh) {
  const { finished, failed } = view;
  const sum = (values) => values.reduce((all, each) => all + each, 0);
  const last = finished.values.length - 1;
  const summary = t("workers.summary", { n: sum(finished.values), failed: sum(failed.values), last: finished.values[last] ?? 0 });
  const outcomes = Object.entries(view.outcomes).map(([code, count]) => [word("outcome", code), format.number(count)]);
  return [
    sum(finished.values) + sum(failed.values) > 0 && chart({
      key: "attempts", title: t("workers.attempts.title"), summary, startS: finished.start_s, stepS: finished.step_s, refresh,
      series: [
        { label: t("attempts.finished"), values: finished.values, color: "--chart-bars" },
        { label: t("attempts.failed"), values: failed.values, color: "--chart-bad", line: true },
      ],
    }),
    outcomes.length > 0 ? facts(outcomes) : nothing("attempts.none"),
  ];
}

function durationTable(durations) {
  const columns = [
    { name: "actor", label: t("column.actor"), head: true },
    { name: "count", label: t("column.attempts"), numeric: true },
    { name: "failed", label: t("column.failed"), numeric: true },
    { name: "p50", label: t("column.p50"), numeric: true },
    { name: "p95", label: t("column.p95"), numeric: true },
    { name: "max", label: t("column.max"), numeric: true },
  ];
  const rows = durations.map((each) => ({
    key: each.actor,
    cells: {
      actor: logText(word("actor", each.actor)),
      count: format.number(each.count),
      failed: each.failed > 0 ? signed("warn", format.number(each.failed)) : format.number(0),
      p50: format.milliseconds(each.p50_ms),
      p95: format.milliseconds(each.p95_ms),
      max: format.milliseconds(each.max_ms),
    },
  }));
  return table({ caption: t("workers.durations"), captionHidden: true, columns, rows });
}

function openTable(openBatches) {
  const columns = [
    { name: "run", label: t("column.run"), head: true },
    { name: "city", label: t("column.city") },
    { name: "open", label: t("batches.open"), numeric: true },
    { name: "since", label: t("column.since") },
  ];
  const rows = openBatches.map((each) => ({
    key: String(each.run_id),
    cells: { run: runLink(each.run_id, each.run), city: logText(each.name), open: format.number(each.open), since: age(each.since) },
  }));
  return table({ caption: t("workers.open_batches"), captionHidden: true, columns, rows });
}
