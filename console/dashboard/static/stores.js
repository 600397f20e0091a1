/** How stores are told. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { noticeTable } from "./notices.js";
import { age, commands, empty, facts, instantAndAge, logText, section, state, table } from "./parts.js";
import { explain, t } from "./words.js";

export function showStores(view) {
  if (view.stores.length === 0) return empty(t("stores.empty"), t("stores.empty.hint"));
  const troubled = view.stores.filter((store) => store.state !== "ok");
  return [
    section("troubled", t("stores.troubled", { n: troubled.length }),
      troubled.length === 0 ? h("p", { class: "quiet" }, t("stores.none_troubled")) : troubled.map(troubledStore)),
    section("all", t("stores.all"), storeTable(view.stores)),
  ];
}

function troubledStore(store) {
  return h("article", { key: store.store, class: "group" },
    h("h3", null, logText(store.store), " ", state("store", store.state), " ", h("span", { class: "quiet log" }, store.name || store.location)),
    h("p", { class: "quiet" }, explain("store", store.state)),
    facts([
      [t("column.failures"), format.number(store.failures)],
      [t("column.last_error"), store.last_error ? [logText(store.last_error), " ", instantAndAge(store.last_error_at, store.time_zone)] : null],
      [t("column.suspended_until"), store.suspended_until ? instantAndAge(store.suspended_until, store.time_zone) : null],
      [t("column.oldest_waiting"), store.oldest_waiting_at ? instantAndAge(store.oldest_waiting_at, store.time_zone) : null],
      [t("column.last_delivered"), instantAndAge(store.last_delivered_at, store.time_zone)],
    ]),
    commands(store.commands),
    store.notices.length > 0 && noticeTable(store.notices, store.time_zone, { ofStore: true }));
}

function storeTable(stores) {
  const columns = [
    { name: "store", label: t("column.store"), head: true },
    { name: "city", label: t("column.city") },
    { name: "state", label: t("column.state") },
    { name: "delivered", label: t("column.delivered"), numeric: true },
    { name: "due", label: t("column.due"), numeric: true },
    { name: "undelivered", label: t("column.undelivered"), numeric: true },
    { name: "last", label: t("column.last_delivered") },
    { name: "oldest", label: t("column.oldest_waiting") },
    { name: "latency", label: t("column.latency"), numeric: true },
  ];
  const rows = stores.map((store) => ({
    key: store.store,
    tone: store.state === "undelivered" || store.state === "suspended" ? "row-bad" : null,
    cells: {
      store: logText(store.store),
      city: logText(store.name || store.location),
      state: state("store", store.state),
      delivered: format.number(store.delivered),
      due: format.number(store.due),
      undelivered: format.number(store.undelivered),
      last: age(store.last_delivered_at, store.time_zone),
      oldest: age(store.oldest_waiting_at, store.time_zone),
      latency: store.latency_p50_ms === null ? format.NO_VALUE
        : [format.milliseconds(store.latency_p50_ms), " · ", format.milliseconds(store.latency_p95_ms)],
    },
  }));
  return table({ caption: t("stores.caption"), captionHidden: true, columns, rows, wide: true });
}
