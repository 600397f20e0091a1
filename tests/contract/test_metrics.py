"""What dashboards, alerts and the reference page name is what the endpoints of real processes expose."""

import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from console.log_reference import HEAD, SEAL, fields_of
from models.events import CATALOGUE
from scheduler.measures import FAMILIES
from tests.contract.conftest import CREDITED, WAITING
from tests.prometheus import a_prometheus
from tests.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts.test.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROVISIONING = sorted((DEPLOY / "grafana" / "provisioning").rglob("*.yml"))
PAGE_HEAD = """\
# Metrics

Generated from what a scheduler and a worker expose; a test fails when this page says something else, and how to mend
it. `DESPENSA_METRICS_PORT` gives a service its endpoint; RUNBOOK.md says how to read what several of them tell.

Amounts are whole minor units (centavos), as in the log: integers stay exact in a metric up to 2^53, and a currency's
minor unit need not be a hundredth. An embedded scheduler exposes both tables: its own threads are the workers.
"""
#: Of Prometheus itself, and labels that it adds.
PROMETHEUS_OWN, ADDED = {"up"}, {"instance", "job"}
#: What Loki makes of our fields: its json parser writes _ for a dot.
HEAD_FIELDS = {name.replace(".", "_") for name in (*HEAD, *SEAL)}


def read_yaml(path: Path) -> Any:
    """A YAML file."""
    return YAML(typ="safe").load(path.read_text())


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(kind: str) -> list[tuple[str, str]]:
    """Every expression of the dashboards over this kind of data source, with where it stands."""
    found = []
    for path in DASHBOARDS:
        dashboard = orjson.loads(path.read_bytes())
        for panel in panels(dashboard):
            if panel["datasource"]["type"] == kind:
                found += [(f"{path.stem}: {panel['title']}", target["expr"]) for target in panel["targets"]]
        for variable in dashboard["templating"]["list"]:
            if variable.get("datasource", {}).get("type") == kind:
                found.append((f"{path.stem}: ${variable['name']}", variable["definition"]))
    return found


def promql() -> list[tuple[str, str]]:
    """Every PromQL expression: of alerts, and of dashboards."""
    return [(rule["alert"], rule["expr"]) for rule in rules()] + expressions("prometheus")


def labels_by_metric(scrapes: dict[str, str]) -> dict[str, set[str]]:
    """What is exposed: the labels of each metric, by the name that an expression uses."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for text in scrapes.values():
        for exposed in text_string_to_metric_families(text):
            for sample in exposed.samples:
                labels[sample.name] |= set(sample.labels)
    for family in FAMILIES:
        if family.name in labels:  # a sample may be missing at this moment; that the metric is there was seen
            labels[family.name] |= set(family.labels)
    return labels


def metrics_page(scrapes: dict[str, str]) -> str:
    """The reference page."""
    labels = labels_by_metric(scrapes)
    parts = [PAGE_HEAD]
    for service in ("scheduler", "worker"):
        rows = ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
        for family in sorted(text_string_to_metric_families(scrapes[service]), key=lambda each: each.name):
            name = family.name + ("_total" if family.type == "counter" else "")
            of = labels[f"{family.name}_count"] if family.type == "histogram" else labels[name]
            told = ", ".join(f"`{label}`" for label in sorted(of))
            rows.append(f"| `{name}` | {family.type} | {told} | {family.documentation} |")
        parts.append(f"## {service.capitalize()}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_everything_that_is_measured_is_exposed(scrapes: dict[str, str]) -> None:
    assert {family.name for family in FAMILIES} <= set(labels_by_metric({"scheduler": scrapes["scheduler"]}))


def test_every_metric_and_label_that_is_named_is_exposed(scrapes: dict[str, str]) -> None:
    labels = labels_by_metric(scrapes)
    all_labels = {label for each in labels.values() for label in each} | ADDED
    wrong: list[tuple[str, ...]] = []
    for where, expression in promql():
        bare = re.sub(r'"[^"]*"', '""', expression)
        names = set(re.findall(r"\bdespensa_\w+", bare))
        assert names or "up{" in bare, where
        wrong += [(where, name) for name in names if name not in labels]
        for name, selector in re.findall(r"\b(despensa_\w+)\{([^}]*)\}", bare):
            wrong += [(where, name, used) for used in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)
                      if used not in labels[name]]  # fmt: skip
        for grouped in re.findall(r"\b(?:by|without|on) \(([^)]*)\)", bare):
            wrong += [(where, used) for used in grouped.split(", ") if used not in all_labels]
        for name, used in re.findall(r"label_values\((\w+), (\w+)\)", bare):
            wrong += [(where, name, used)] if used not in labels[name] else []

    assert wrong == []


def test_what_several_schedulers_tell_is_not_added_up(scrapes: dict[str, str]) -> None:
    """Two schedulers would make twice the vouchers."""
    told = {family.name for family in FAMILIES}

    wrong = [
        (where, name)
        for where, expression in promql()
        for name in re.findall(r"\bdespensa_\w+", expression)
        if name in told and not re.search(r"max (without|by) \([^)]*\) \(" + name + r"|(max|min|absent)\(" + name
                                          + "|label_values", expression)
    ]  # fmt: skip

    assert wrong == []


def test_page_of_metrics_is_what_is_exposed(scrapes: dict[str, str], tmp_path: Path) -> None:
    page = metrics_page(scrapes)
    (tmp_path / "METRICS.md").write_text(page)

    assert (DEPLOY / "METRICS.md").read_text() == page, f"cp {tmp_path}/METRICS.md {DEPLOY}/METRICS.md"


def test_no_label_is_of_a_family_a_run_a_batch_or_a_store(scrapes: dict[str, str]) -> None:
    allowed = {
        "actor", "currency", "cycle", "fund", "le", "location", "name", "outcome", "programme", "python", "reason",
        "role", "service", "state", "step", "time_zone", "version",
    }  # fmt: skip

    assert {label for labels in labels_by_metric(scrapes).values() for label in labels} == allowed


def test_every_alert_has_what_whoever_is_woken_needs() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        page, anchor = rule["annotations"]["runbook_url"].split("#")
        assert page == "deploy/RUNBOOK.md"
        assert anchor in anchors(DEPLOY / "RUNBOOK.md"), rule["alert"]
    assert len({rule["annotations"]["runbook_url"] for rule in rules()}) == len(rules())


def test_every_alert_is_tested_where_it_fires_and_where_it_does_not() -> None:
    tests = [each for group in read_yaml(ALERT_TESTS)["tests"] for each in group["alert_rule_test"]]
    tested = Counter((each["alertname"], bool(each["exp_alerts"])) for each in tests)

    assert tested == {(rule["alert"], fires): 1 for rule in rules() for fires in (True, False)}


def test_every_section_for_an_alert_says_what_to_do() -> None:
    sections = (DEPLOY / "RUNBOOK.md").read_text().partition("## When an alert fires")[2].split("\n### ")[1:]

    assert len(sections) == len(rules())
    for section in sections:
        for word in ("Symptom:", "Meaning:", "First command:", "Wake somebody:"):
            assert f"**{word}**" in section, section


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_can_be_provisioned_anywhere(path: Path) -> None:
    dashboard = orjson.loads(path.read_bytes())
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert (dashboard["uid"], dashboard["schemaVersion"] >= 39) == (path.stem, True)
    assert "id" not in dashboard  # Grafana's own
    assert len(ids) == len(set(ids))
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert re.fullmatch(r"\$\{(\w+)\}", source["uid"])[1] in variables  # type: ignore[index]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert {name for name in used if not name.startswith("__")} <= variables


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_stand_beside_each_other(path: Path) -> None:
    places = [panel["gridPos"] for panel in orjson.loads(path.read_bytes())["panels"]]

    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_every_event_and_field_of_the_log_dashboard_is_in_the_catalogue() -> None:
    wrong = [(where, name) for where, expression in expressions("loki") for name in _unknown(expression)]

    assert expressions("loki")
    assert wrong == []


def _unknown(expression: str) -> Iterator[str]:
    """What a LogQL expression names and the catalogue does not know.

    What is filtered, grouped or added up must be in all the events that it is about; what is shown, in one of them.
    """
    names = [name for group in re.findall(r'event=~?"([^"]*)"', expression) for name in group.split("|")]
    yield from (name for name in names if name not in CATALOGUE)
    fields = [{field.name for field in fields_of(CATALOGUE[name])} for name in names if name in CATALOGUE]
    in_all = set.intersection(*fields) if fields else set()
    in_any = set().union(*fields)
    stages = expression.partition("| json")[2]
    needed = set(re.findall(r"\bunwrap (\w+)", stages)) | set(re.findall(r'\| (\w+)(?:=~|!~|!=|=)"', stages))
    needed |= {name for group in re.findall(r"\bby \(([^)]*)\)", expression) for name in group.split(", ")}
    yield from needed - in_all - HEAD_FIELDS
    yield from set(re.findall(r"\{\{\.(\w+)\}\}", stages)) - in_any - HEAD_FIELDS


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ('{a="b"} | json | event="batch.credited" | unwrap credited [5m]', []),
        ('{a="b"} | json | event="batch.paid"', ["batch.paid"]),
        ('{a="b"} | json | event="batch.credited" | unwrap paid [5m]', ["paid"]),
        ('sum by (store) (count_over_time({a="b"} | json | event="batch.credited" [5m]))', ["store"]),
        ('{a="b"} | json | event=~"notice.delivered|run.paused" | store="1"', ["store"]),
        ('{a="b"} | json | event=~"notice.delivered|run.paused" | line_format "{{.store}} {{.reason}}"', []),
        ('{a="b"} | json | event="run.paused" | line_format "{{.service.name}} {{.nobody}}"', ["nobody"]),
        ('{a="b"} | json | level="error" | service_name="x"', []),
    ],
)
def test_what_the_catalogue_does_not_know_is_found(expression: str, unknown: list[str]) -> None:
    assert list(_unknown(expression)) == unknown


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "grafana" / "provisioning").rglob("*.yml")), ids=lambda p: p.parent.name
)
def test_provisioning_is_of_the_version_that_grafana_reads(path: Path) -> None:
    provisioning = read_yaml(path)

    assert provisioning["apiVersion"] == 1
    assert provisioning[{"datasources": "datasources", "dashboards": "providers"}[path.parent.name]]


def promtool(*words: str, stdin: str = "") -> None:
    """Debian's. Where it is missing the test fails: `./despensa test --all` installs it."""
    tool = shutil.which("promtool")
    assert tool, "apt-get install -y --no-install-recommends prometheus"
    done = subprocess.run([tool, *words], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.debian
def test_promtool_accepts_what_is_exposed(scrapes: dict[str, str]) -> None:
    """Names, units, and help."""
    for text in scrapes.values():
        promtool("check", "metrics", stdin=text)


def test_example_scrapes_the_ports_that_the_units_give() -> None:
    example = YAML(typ="safe").load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        job["job_name"]: [int(target.partition(":")[2]) for each in job["static_configs"] for target in each["targets"]]
        for job in example["scrape_configs"]
    }
    scheduler, worker = (
        re.findall(r"(?m)^Environment=DESPENSA_METRICS_PORT=(.*)$", (DEPLOY / "systemd" / name).read_text())[0]
        for name in ("despensa-scheduler.service", "despensa-worker@.service")
    )

    assert targets == {
        "despensa-scheduler": [int(scheduler)],
        "despensa-worker": [int(worker.replace("%i", str(number))) for number in (1, 2)],
    }


@pytest.mark.debian
def test_promtool_accepts_the_example_and_its_rules() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))


@pytest.mark.debian
def test_alerts_fire_and_do_not() -> None:
    promtool("test", "rules", str(ALERT_TESTS))


def dashboard_promql() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboards, as Grafana would ask it; not the lists of its variables."""
    replaced = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m", "$programme": ".*", "$cycle": ".*"}
    for where, expression in expressions("prometheus"):
        if expression.startswith("label_values("):
            continue
        for variable, value in replaced.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901  # one after the other
        assert "$" not in expression, where
        yield where, expression


@pytest.mark.debian
def test_every_expression_of_the_dashboards_is_promql(tmp_path: Path) -> None:
    records = [
        {"record": f"panel:{number}:checked", "expr": expression}
        for number, (_, expression) in enumerate(dashboard_promql())
    ]
    path = tmp_path / "rules.yml"
    with path.open("w") as file:
        YAML().dump({"groups": [{"name": "panels", "rules": records}]}, file)

    assert len(records) > 20
    promtool("check", "rules", str(path))


#: What a healthy month has none of, and what does not move while it is scraped.
NOTHING = ("Oldest open batch", "Stores that do not answer", "Failed steps of ticks", "Attempts by outcome")


@pytest.mark.debian
def test_a_real_prometheus_answers_every_panel_and_alert(scrapes: dict[str, str], tmp_path: Path) -> None:
    """What two schedulers and a worker said is asked for: vectors match, and panels are not empty."""
    with a_prometheus(tmp_path, {"a": "scheduler", "b": "scheduler", "w": "worker"}, scrapes) as ask:
        until(lambda: len(ask("count_over_time(up[5m]) > 1")) == 3, what="two scrapes of each")
        empty = [where for where, expression in dashboard_promql() if not ask(expression)]
        firing = {rule["alert"] for rule in rules() if ask(rule["expr"])}
        planned = ask("sum(max without (instance, job) (despensa_disbursements_planned))")

    assert [where for where in empty if not where.endswith(NOTHING)] == []
    assert float(planned[0]["value"][1]) == CREDITED + WAITING  # of two schedulers that say so, once
    assert "DespensaRunWaits" in firing
    assert firing <= {"DespensaRunWaits", "DespensaNoWorker"}  # the worker has ended before the scheduler looked
