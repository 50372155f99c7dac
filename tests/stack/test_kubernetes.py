"""What compose/kubernetes promises, read from its files; kustomize itself, where there is one, builds both."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import cloud.control.settings
import cloud.settings
import edge.settings
from protocol.errors import Code
from serving.metrics import Metrics
from serving.operations import Operations
from serving.settings import OperationsSettings
from tests.transport.pki import Pki

FOLDER = Path(__file__).parents[2] / "compose" / "kubernetes"
VERSION = "1.35"
"""The oldest Kubernetes that the manifests are for: the first with volumes of images in every cluster."""
PLAIN = sorted(
    path for part in ("base", "ray") for path in (FOLDER / part).glob("*.yaml") if path.name != "kustomization.yaml"
)
PATCHES = {FOLDER / "ray" / "cloud.yaml"}
DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    (f"{path.parent.name}/{path.name}", document)
    for path in PLAIN
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
WORKLOADS = {
    document["metadata"]["name"]: document
    for where, document in DOCUMENTS
    if document["kind"] in ("Deployment", "StatefulSet") and where != "ray/cloud.yaml"
}
every_workload = pytest.mark.parametrize("name", WORKLOADS)


def _named(kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for _, document in DOCUMENTS if document["kind"] == kind}


def _pod(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return pod


def _schema_faults(document: dict[str, Any]) -> str:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as exc:
        return f"{list(exc.path)}: {exc.message}"
    return ""


@pytest.mark.parametrize("path", [path for path in PLAIN if path not in PATCHES], ids=lambda path: path.name)
def test_every_manifest_is_what_kubernetes_own_schemas_declare(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert documents
    assert [_schema_faults(document) for document in documents] == [""] * len(documents)


def test_a_misspelt_key_would_be_noticed() -> None:
    (budget,) = (document for _, document in DOCUMENTS if document["kind"] == "PodDisruptionBudget"
                 and document["metadata"]["name"] == "edge")  # fmt: skip
    assert "maxUnavailible" in _schema_faults(budget | {"spec": {"maxUnavailible": 1}})


@every_workload
def test_runs_confined(name: str) -> None:
    pod = _pod(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        limits = container["securityContext"]
        assert limits["allowPrivilegeEscalation"] is False
        assert limits["readOnlyRootFilesystem"] is True
        assert limits["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@every_workload
def test_is_probed_for_its_start_for_being_ready_and_for_being_alive(name: str) -> None:
    for container in _pod(name)["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert {"exec", "httpGet", "tcpSocket"} & set(container[probe]), probe
        assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 60


@pytest.mark.parametrize("name", ["cloud", "edge", "ray-worker"])
def test_what_there_are_several_of_is_drained_one_by_one(name: str) -> None:
    budget = _named("PodDisruptionBudget")[name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert (
        budget["selector"]["matchLabels"].items() <= WORKLOADS[name]["spec"]["template"]["metadata"]["labels"].items()
    )


@pytest.mark.parametrize("name", ["cloud", "edge"])
def test_is_scaled_by_figures_that_a_tier_really_has(name: str) -> None:
    scaler = _named("HorizontalPodAutoscaler")[name]["spec"]
    assert scaler["scaleTargetRef"]["name"] == name
    assert scaler["minReplicas"] >= 2
    asked = {metric["pods"]["metric"]["name"] for metric in scaler["metrics"]}
    rules = yaml.safe_load((FOLDER / "autoscaling" / "adapter.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
    series = {rule.get("name", {}).get("as", _series(rule)): _series(rule) for rule in rules}
    assert asked == set(series)
    assert set(series.values()) <= _exposed()
    (turned_away,) = (rule["metricsQuery"] for rule in rules if _series(rule) == "isthmus_frames_total")
    assert f'outcome=~"{Code.OVERLOADED.name.lower()}|{Code.EXPIRED.name.lower()}"' in turned_away


def _series(rule: dict[str, Any]) -> str:
    return str(rule["seriesQuery"]).partition("{")[0]


def _exposed() -> set[str]:
    class Idle:
        def load(self) -> Any:
            from protocol.messages import Load

            return Load()

        def explained(self) -> dict[str, object]:
            return {"steps": {}}

    metrics = Metrics(lambda: 0.0)
    metrics.watch(Idle())
    found = set()
    for family in metrics.registry.collect():
        found |= {family.name, f"{family.name}_total" if family.type == "counter" else family.name}
    return found


@every_workload
def test_has_more_time_to_end_than_it_takes_to_drain(name: str) -> None:
    path = FOLDER / "base" / f"{name}.toml"
    if name in ("cloud", "edge"):
        program = {"cloud": cloud.settings, "edge": edge.settings}[name]
        assert _pod(name)["terminationGracePeriodSeconds"] > program.load(path).drain_s
    assert _pod(name)["terminationGracePeriodSeconds"] <= 60


def test_the_programs_read_their_files_and_may_listen_to_others() -> None:
    for program, path in (
        (edge.settings, "base/edge.toml"),
        (cloud.settings, "base/cloud.toml"),
        (cloud.settings, "ray/cloud.toml"),
    ):
        settings = program.load(FOLDER / path)
        settings.listen.require_safe()
        assert settings.trust.keys
        assert settings.operations is not None
        settings.operations.require_safe()
        assert set(settings.operations.readers) == {"prometheus", settings.name}
    control = cloud.control.settings.load(FOLDER / "base" / "control.toml")
    control.listen.require_safe()


def test_edges_call_the_clouds_by_the_name_of_their_service() -> None:
    (above,) = edge.settings.load(FOLDER / "base" / "edge.toml").above
    above.require_safe()
    host, _, port = above.target.partition(":")
    assert [one["port"] for one in _named("Service")[host]["spec"]["ports"]] == [int(port)]


def test_the_ray_cluster_is_where_the_cloud_looks_for_it_and_lets_nobody_in_without_a_token() -> None:
    ray = cloud.settings.load(FOLDER / "ray" / "cloud.toml").ray
    assert ray is not None
    host, _, port = ray.address.partition(":")
    assert [one["port"] for one in _named("Service")[host]["spec"]["ports"]] == [int(port)]
    (patch,) = (document for where, document in DOCUMENTS if where == "ray/cloud.yaml")
    pods = [_pod("ray-head"), _pod("ray-worker"), patch["spec"]["template"]["spec"]]
    for pod in pods:
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
    assert "ray" in _named("NetworkPolicy")


def test_no_pod_may_speak_or_be_spoken_to_unless_a_policy_says_so() -> None:
    nothing = _named("NetworkPolicy")["nothing"]["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", ["base", "ray"])
@pytest.mark.slow
def test_kustomize_builds_what_the_schemas_declare(overlay: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl here")
    built = subprocess.run(
        [kubectl, "kustomize", str(FOLDER / overlay)], capture_output=True, text=True, timeout=60, check=False
    )
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    assert [_schema_faults(document) for document in documents] == [""] * len(documents)
    names = {(document["kind"], document["metadata"]["name"].partition("-")[0]) for document in documents}
    assert {("Deployment", "cloud"), ("Deployment", "edge"), ("StatefulSet", "control")} <= names
    assert (("HorizontalPodAutoscaler", "cloud") in names) is (overlay == "base")
    images = {
        container["image"]
        for document in documents
        if "template" in document.get("spec", {})
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    assert all(":" in image for image in images), "an image without a version may be another one tomorrow"


async def test_liveness_asks_the_door_for_operators_with_the_pods_own_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    readers = ("prometheus", "tier")
    registry = Metrics(lambda: 0.0).registry
    door = Operations(
        OperationsSettings(tls=pki.listen.tls, readers=readers), ready=lambda: False, explain=dict, registry=registry,
        clock=lambda: 0.0,
    )  # fmt: skip
    await door.start()
    port = str(door.port)
    try:
        assert await _alive(tmp_path, port), "draining is no reason to be killed"
    finally:
        await door.stop()
    assert not await _alive(tmp_path, port)


async def _alive(identity: Path, port: str) -> bool:
    command = [sys.executable, "-ISB", str(FOLDER / "base" / "live.py"), str(identity), port]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    return await process.wait() == 0
