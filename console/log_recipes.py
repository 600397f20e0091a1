"""Questions to begin with, for `logs query`: a part of the reference page, each asked by a test."""

#: What is asked, and how.
RECIPES = {
    "What was credited, by city and hour? Amounts are in minor units.": """\
SELECT location_name, date_trunc('hour', timestamp) AS hour, sum(credited) AS credited,
       sum(credited_minor) AS credited_minor, currency
FROM (SELECT * EXCLUDE (location_name) FROM log WHERE event IN ('batch.credited', 'case.resolved') AND credited > 0)
JOIN (SELECT DISTINCT run_id, location_name FROM log WHERE event = 'run.planned') USING (run_id)
GROUP BY location_name, hour, currency ORDER BY hour, location_name""",
    "Which attempts took longest, and where?": """\
SELECT timestamp, "service.instance.id" AS instance, actor, subject_id, coalesce(outcome, error) AS outcome, duration_ms
FROM log WHERE event IN ('attempt.finished', 'attempt.failed')
ORDER BY duration_ms DESC LIMIT 20""",
    "Which errors are there, how often, since when?": """\
SELECT error, sqlstate, event, count(*) AS times, min(timestamp) AS first, max(timestamp) AS last
FROM log WHERE error <> '' GROUP BY error, sqlstate, event ORDER BY times DESC, last DESC""",
    "Which cases are open, by city and reason? (A cancelled run's are in `run status`.)": """\
SELECT opened.location, opened.reason, count(*) AS cases, sum(opened.amount_minor) AS amount_minor,
       min(opened.timestamp) AS oldest, count(*) FILTER (WHERE opened.next_attempt_at = '') AS wait_for_a_person
FROM log AS opened WHERE opened.event = 'case.opened'
 AND NOT EXISTS (FROM log AS closed WHERE closed.event = 'case.resolved' AND closed.case_id = opened.case_id)
 AND NOT EXISTS (FROM log AS closed WHERE closed.event = 'batch.retried' AND closed.seq > opened.seq
                 AND opened.disbursement_id BETWEEN closed.first_id AND closed.last_id)
GROUP BY opened.location, opened.reason ORDER BY cases DESC, opened.location""",
    "How long did it take to tell each store?": """\
SELECT made.store, count(*) AS created, count(told.seq) AS delivered,
       max(date_diff('second', made.timestamp, told.timestamp)) AS longest_s
FROM log AS made LEFT JOIN log AS told ON told.event = 'notice.delivered' AND told.notice_id = made.notice_id
WHERE made.event = 'notice.created' GROUP BY made.store ORDER BY longest_s DESC NULLS FIRST, made.store""",
}

PREFACE = """\
## Questions to the log

`despensa logs query SQL FILE…` asks any number of files, plain or packed, in SQL. The table `log` has a column for
each field of this page, NULL where an event does not have it; `timestamp` is a TIMESTAMP in UTC, numbers are BIGINT. A
sealed line that is there twice counts once. `--json` and `--csv` are for programs. From a file:
`despensa logs query "$(cat question.sql)" /var/log/despensa/*.jsonl*`"""


def section() -> list[str]:
    """As on the page."""
    return [PREFACE, *(f"{asked}\n\n```sql\n{sql}\n```" for asked, sql in RECIPES.items())]
