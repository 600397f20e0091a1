/** Messages to stores. */

import * as format from "./format.js";
import { age, instant, logText, runLink, state, table } from "./parts.js";
import { t } from "./words.js";

/** In a run's view the run is known, in a store's the store. */
export function noticeTable(notices, zone, { ofStore = false } = {}) {
  const columns = [
    ofStore ? { name: "run", label: t("column.run"), head: true } : { name: "store", label: t("column.store"), head: true },
    { name: "number", label: t("column.number"), numeric: true },
    { name: "state", label: t("column.state") },
    { name: "attempts", label: t("column.attempts"), numeric: true },
    { name: "created", label: t("column.created") },
    { name: "ended", label: t("column.ended") },
    { name: "error", label: t("column.error") },
    { name: "next", label: t("column.next_attempt") },
  ];
  const rows = notices.map((notice) => ({
    key: String(notice.notice_id),
    cells: {
      run: runLink(notice.run_id, notice.run),
      store: logText(notice.store),
      number: String(notice.number),
      state: state("notice", notice.state),
      attempts: format.number(notice.attempts),
      created: instant(notice.created_at, zone),
      ended: instant(notice.ended_at, zone),
      error: notice.error ? logText(notice.error) : format.NO_VALUE,
      next: age(notice.next_attempt_at, zone),
    },
  }));
  return table({ caption: t("notices.caption"), captionHidden: true, columns, rows });
}
