/** Cities × cycle: what was expected, and what came of it. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { bar, empty, instant, runLink, signed, state, table } from "./parts.js";
import { blockedWord, sentence, t } from "./words.js";

/** Which cycles the reader has opened or closed; the others follow the rule: the newest is open. */
const chosen = new Map();

export function showMonths(view, { refresh }) {
  if (view.months.length === 0) {
    return empty(t("months.empty"), sentence("months.empty.hint", { command: h("code", null, "despensa import") }));
  }
  return view.months.map((month, index) => showMonth(month, { open: chosen.get(month.cycle) ?? index === 0, refresh }));
}

function showMonth(month, { open, refresh }) {
  const toggle = () => {
    chosen.set(month.cycle, !open);
    refresh();
  };
  const id = `month-${month.cycle}`;
  return h("section", { key: month.cycle, class: "month", "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title`, class: "fold" },
      h("button", { type: "button", "aria-expanded": String(open), "aria-controls": id, onclick: toggle },
        h("span", { class: "sign", "aria-hidden": "true" }, open ? "▾" : "▸"), " ", format.cycleName(month.cycle)),
      " ", h("span", { class: "quiet" }, summary(month))),
    h("div", { id }, open && monthTable(month)));
}

function summary(month) {
  const missing = month.cities.filter((city) => city.state === "missing").length;
  const totals = month.totals.map((total) => t("months.summary", {
    n: total.families, credited: total.credited, share: format.percent(total.credited, total.families),
    amount: format.money(total.credited_minor, total.currency),
  }));
  return [totals.join(" · "), missing > 0 && [" ", signed("bad", t("months.missing", { n: missing }))]];
}

function monthTable(month) {
  const severalProgrammes = new Set(month.cities.map((city) => city.programme)).size > 1;
  const columns = [
    { name: "city", label: t("column.city"), head: true },
    { name: "state", label: t("column.state") },
    { name: "families", label: t("column.families"), numeric: true },
    { name: "credited", label: t("column.credited"), numeric: true },
    { name: "cases", label: t("column.cases"), numeric: true },
    { name: "stores", label: t("column.stores_told"), numeric: true },
    { name: "expected", label: t("column.expected"), numeric: true },
    { name: "paid", label: t("column.credited_amount"), numeric: true },
    { name: "difference", label: t("column.difference"), numeric: true },
    { name: "remaining", label: t("column.remaining"), numeric: true },
    { name: "payday", label: t("column.payday") },
  ];
  return table({
    key: "cities", columns, wide: true, captionHidden: true,
    caption: t("months.caption", { month: format.cycleName(month.cycle) }),
    rows: month.cities.map((city) => ({
      key: `${city.programme}/${city.location}/${city.currency}`,
      tone: city.state === "missing" ? "row-bad" : null,
      cells: { ...cityCells(city, { severalProgrammes }), ...counts(city, city.currency) },
    })),
    foot: month.totals.map((total) => ({
      key: `${total.programme}/${total.currency}`,
      cells: {
        city: [t("months.total"), " ", h("span", { class: "quiet log" }, total.programme, " · ", total.currency)],
        state: t("months.cities", { n: total.cities }),
        ...counts(total, total.currency),
      },
    })),
  });
}

function cityCells(city, { severalProgrammes }) {
  return {
    city: [
      h("span", { class: "city log" }, city.name || city.location), " ",
      h("span", { class: "quiet log" }, severalProgrammes ? `${city.location} · ${city.programme}` : city.location),
      city.runs.length > 0 && h("span", { class: "runs" }, city.runs.map((run) => runOf(run, city.runs.length > 1))),
    ],
    state: [
      state("city", city.state),
      city.late && [" ", signed("warn", t("late"))],
      city.blocked && h("span", { class: "reason log" }, blockedWord(city.blocked)),
    ],
    payday: instant(city.opens_at, city.time_zone),
  };
}

/** Of one part its state is the city's; of several, each has its own. */
function runOf(run, several) {
  return h("span", { key: String(run.run_id), class: "run" }, runLink(run.run_id, run.run),
    several && [" ", h("span", { class: "quiet" }, t("run.part", { part: run.part })), " ", state("run", run.state)]);
}

/** Of a city and of a total alike. */
function counts(of, currency) {
  return {
    families: format.number(of.families),
    credited: [format.number(of.credited), bar(of.credited, of.families)],
    cases: of.cases > 0 ? signed("warn", format.number(of.cases)) : format.number(of.cases),
    stores: storesTold(of),
    expected: format.money(of.expected_minor, currency),
    paid: format.money(of.credited_minor, currency),
    difference: difference(of, currency),
    remaining: format.duration(of.remaining_s),
  };
}

function storesTold(of) {
  if (of.stores === 0) return format.NO_VALUE;
  const told = t("stores.told", { told: of.stores_told, all: of.stores });
  return of.stores_undelivered > 0 ? signed("bad", told) : told;
}

/** What was found not owed stays a difference of the amounts, and is said. */
function difference(of, currency) {
  return [
    format.money(of.difference_minor, currency),
    of.not_owed > 0 && h("span", { class: "reason" }, t("months.not_owed", { n: of.not_owed })),
  ];
}
