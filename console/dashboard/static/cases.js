/** What waits for a person, and what retries itself: grouped, each with the commands that mend it. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { age, commands, empty, facts, findLink, instantAndAge, instant, logText, runLink, section, table } from "./parts.js";
import { explain, t, word } from "./words.js";

const KINDS = ["person", "itself"];

export function showCases(view) {
  if (view.groups.length === 0) return empty(t("cases.empty"), t("cases.empty.hint"));
  return KINDS.map((waitsFor) => {
    const groups = view.groups.filter((group) => (group.waits_for === "itself") === (waitsFor === "itself"));
    const count = groups.reduce((sum, group) => sum + group.count, 0);
    return section(waitsFor, t(`cases.${waitsFor}`, { n: count }),
      groups.length === 0 ? h("p", { class: "quiet" }, t(`cases.none.${waitsFor}`)) : groups.map((group) => caseGroup(group)));
  });
}

/** Of the cases view with the city and run it is of; in the run's own view without. */
export function caseGroup(group, { ofRun = false } = {}) {
  const key = [group.run_id, group.waits_for, group.reason, group.error].join("/");
  return h("article", { key, class: "group" },
    h("h3", null, word("reason", group.reason), " ",
      h("span", { class: "quiet" }, t("cases.families", { n: group.count }), " · ", format.money(group.amount_minor, group.currency))),
    h("p", { class: "quiet" }, explain("reason", group.reason)),
    facts([
      [t("column.city"), ofRun ? null : logText(group.name || group.location)],
      [t("column.run"), ofRun ? null : runLink(group.run_id, group.run)],
      [t("column.error"), group.error ? logText(group.error) : null],
      [t("column.oldest"), instantAndAge(group.oldest_at, group.time_zone)],
      [t("column.next_attempt"), group.next_attempt_at ? instantAndAge(group.next_attempt_at, group.time_zone) : null],
    ]),
    commands(group.commands),
    caseRows(group));
}

function caseRows(group) {
  if (group.cases.length === 0) return null;
  const columns = [
    { name: "case", label: t("column.case"), head: true },
    { name: "disbursement", label: t("column.disbursement"), numeric: true },
    { name: "attempts", label: t("column.attempts"), numeric: true },
    { name: "amount", label: t("column.amount"), numeric: true },
    { name: "opened", label: t("column.opened") },
    group.waits_for === "itself" && { name: "next", label: t("column.next_attempt") },
  ];
  const rows = group.cases.map((row) => ({
    key: String(row.case_id),
    cells: {
      case: String(row.case_id),
      disbursement: findLink(`disbursement ${row.disbursement_id}`, String(row.disbursement_id)),
      attempts: format.number(row.attempts),
      amount: format.money(row.amount_minor, group.currency),
      opened: instant(row.opened_at, group.time_zone),
      next: age(row.next_attempt_at, group.time_zone),
    },
  }));
  return h("details", null, h("summary", null, t("cases.list", { n: group.count })),
    table({ caption: t("cases.caption"), captionHidden: true, columns, rows }),
    group.more > 0 && h("p", { class: "quiet" }, t("more.cases", { n: group.more })));
}
