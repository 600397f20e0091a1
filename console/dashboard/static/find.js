/** Every event of one voucher, batch or run. */

import { h } from "./dom.js";
import { eventList } from "./events.js";
import { empty, facts, logText, runLink } from "./parts.js";
import { sentence, t, word } from "./words.js";

export function showFind(view, { refresh }) {
  if (view.kind === "nothing") {
    return empty(sentence("find.refused", { asked: logText(view.asked, "strong"), why: word("refusal", view.refusal) }), t("find.hint"));
  }
  return [
    h("p", { key: "what" }, h("strong", null, word("kind", view.kind)), " ", logText(view.asked)),
    facts([
      [t("column.run"), runLink(view.run_id, view.run)],
      [t("column.city"), logText(view.name)],
      [t("find.disbursements"), range(view)],
    ]),
    view.kind === "voucher" && h("p", { key: "voucher", class: "quiet" }, t("find.voucher.told")),
    h("h2", { key: "title" }, t("find.events", { n: view.events.length })),
    view.events.length === 0 ? h("p", { key: "none", class: "quiet" }, t("find.no_events"))
      : eventList({ key: `find-${view.asked}`, events: view.events, zone: view.time_zone, more: view.more, refresh }),
  ];
}

function range(view) {
  if (view.first_id === 0) return null;
  return view.first_id === view.last_id ? String(view.first_id) : t("find.range", { first: String(view.first_id), last: String(view.last_id) });
}
