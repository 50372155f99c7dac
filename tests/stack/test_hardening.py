"""What compose/compose.yml promises about every container, read from the file itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose import stack
from tests.docs.pages import name_of

COMPOSE = Path(__file__).parents[2] / "compose"
STACK: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
SECRET = re.compile(r"password|(?<!/etc/)passwd|secret|token|api_?key|BEGIN [A-Z ]*PRIVATE KEY", re.IGNORECASE)

every_service = pytest.mark.parametrize("name", SERVICES)


def resolved(text: str) -> str:
    """A value with the defaults of its variables."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


ALWAYS = {"certificates", "mosquitto", "control", "cloud", "edge", "camera-1", "camera-2"}
PROFILES = {
    "chaos": {"link", "camera-3"},
    "obs": {"prometheus", "collector", "grafana"},
    "postgres": {"postgres"},
}


def test_the_stack_is_a_broker_a_control_plane_two_tiers_two_devices_and_their_certificates() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == ALWAYS


def test_all_else_comes_with_a_profile() -> None:
    found = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert found == {name: [profile] for profile, names in PROFILES.items() for name in names}
    assert set(PROFILES) == set(stack.PROFILES)


@every_service
def test_runs_as_a_numbered_user_who_is_not_root(name: str) -> None:
    user, group = SERVICES[name]["user"].split(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


@every_service
def test_cannot_write_to_its_image_nor_gain_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all("noexec" in mount and "size=" in mount for mount in service["tmpfs"])


@every_service
def test_has_limits_and_reaps_its_children(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[0-9]+m", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 256
    assert service["init"] is True
    assert service["logging"]["options"]["max-size"]


@every_service
def test_is_checked_and_comes_back_unless_it_ends_by_itself(name: str) -> None:
    service = SERVICES[name]
    if name == "certificates":
        assert "restart" not in service
        return
    assert service["healthcheck"]["test"][0] == "CMD"  # no shell
    assert service["restart"] == "unless-stopped"
    assert service["depends_on"]["certificates"]["condition"] == "service_completed_successfully"


@every_service
def test_names_the_version_of_its_image(name: str) -> None:
    tag = resolved(SERVICES[name]["image"]).partition(":")[2]
    assert re.match(r"v?[0-9]+\.[0-9]+", tag), "an image without a version may be another one tomorrow"
    assert tag != "latest"


@every_service
def test_shares_nothing_with_the_host(name: str) -> None:
    service = SERVICES[name]
    assert not {"pid", "ipc", "devices", "volumes_from", "userns_mode"} & set(service)
    assert service.get("network_mode", "none") in ("none", "service:link")
    assert not any("docker.sock" in volume for volume in service.get("volumes", ()))


@every_service
def test_what_is_mounted_from_the_host_is_read_only(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *mode = resolved(volume).split(":")
        if source.startswith((".", "/")):
            assert mode == ["ro"], volume
        assert source != target


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"certificates", "link"}))
def test_has_an_identity_of_its_own_that_it_cannot_change(name: str) -> None:
    mounts = [volume for volume in SERVICES[name]["volumes"] if "/identity" in volume]
    assert mounts == [f"{name}-identity:/identity:ro"]


def test_only_the_certificates_service_has_the_authority_and_it_has_no_network() -> None:
    holders = [name for name, service in SERVICES.items() if any("authority:" in v for v in service.get("volumes", ()))]
    assert holders == ["certificates"]
    assert SERVICES["certificates"]["network_mode"] == "none"


def test_a_bundle_is_mounted_and_none_is_built_in() -> None:
    for name in ("cloud", "edge", "camera-1", "camera-2", "camera-3"):
        assert "bundle:/bundle:ro" in SERVICES[name]["volumes"]
    dockerfile = (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    assert "rm -rf isthmus/builtin/digits.bundle" in dockerfile


def test_ports_are_published_on_loopback_and_by_programs_with_tls_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"edge", "control", "grafana"}
    assert all(resolved(port).startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert "protocol = https" in (COMPOSE / "observability" / "grafana.ini").read_text(encoding="utf-8")
    for name in ("edge", "control"):
        assert "[listen.tls]" in (COMPOSE / f"{name}.toml").read_text(encoding="utf-8")


def test_devices_and_the_broker_are_on_a_network_without_a_way_out() -> None:
    assert STACK["networks"]["field"]["internal"] is True
    for name in ("mosquitto", "cloud", "camera-1", "camera-2", "postgres", "link"):
        assert SERVICES[name]["networks"] == ["field"]
    assert SERVICES["camera-3"]["network_mode"] == "service:link", "it has no other way than the link"


def test_only_what_is_published_is_on_a_network_with_a_way_out() -> None:
    assert STACK["networks"]["watch"]["internal"] is True
    assert {name for name, service in SERVICES.items() if "front" in service.get("networks", ())} == {
        name for name, service in SERVICES.items() if "ports" in service
    }


def test_the_database_lets_nobody_in_but_the_control_plane_with_its_certificate() -> None:
    rules = (COMPOSE / "postgres" / "pg_hba.conf").read_text(encoding="utf-8").splitlines()
    assert [rule.split() for rule in rules if not rule.startswith("#")] == [
        ["hostssl", "isthmus", "control", "all", "cert"],
        ["local", "postgres", "isthmus", "peer"],
    ]


@pytest.mark.parametrize("name", ["edge", "cloud"])
def test_figures_of_a_tier_are_read_by_the_named_only(name: str) -> None:
    operations = tomllib.loads((COMPOSE / f"{name}.toml").read_text(encoding="utf-8"))["operations"]
    assert set(operations["readers"]) == {"prometheus", "control"}
    assert set(operations["tls"]) == {"certificate", "key", "client_ca"}


def test_observers_trust_the_stacks_authority_alone() -> None:
    jobs = yaml.safe_load((COMPOSE / "observability/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    for job in jobs:
        (target,) = {target.partition(":")[0] for one in job["static_configs"] for target in one["targets"]} - {"cloud"}
        assert target in SERVICES
        if target != "collector":  # which is asked within the network that holds nobody else
            assert (job["scheme"], job["tls_config"]["ca_file"]) == ("https", "/identity/ca.pem")
    collector = yaml.safe_load((COMPOSE / "observability/collector.yml").read_text(encoding="utf-8"))
    for door in collector["receivers"]["otlp"]["protocols"].values():
        assert door["tls"]["client_ca_file"] == "/identity/ca.pem"
    pipelines = collector["service"]["pipelines"].values()
    used = {
        name for line in pipelines for part in ("receivers", "processors", "exporters") for name in line.get(part, ())
    }
    known = {name for part in ("receivers", "processors", "exporters", "connectors") for name in collector[part]}
    assert used == known


def test_the_broker_knows_everyone_and_lets_nobody_in_without_a_certificate() -> None:
    settings = dict(
        line.split(" ", 1)
        for line in (COMPOSE / "mosquitto.conf").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert settings["require_certificate"] == "true"
    assert settings["use_identity_as_username"] == "true"
    assert settings["allow_anonymous"] == "false"
    assert settings["acl_file"] == "/identity/acl"


SETTINGS = {".yml", ".toml", ".conf", ".sh", ".env", ".json", ""}


@pytest.mark.parametrize(
    "path", sorted(p for p in COMPOSE.rglob("*") if p.is_file() and p.suffix in SETTINGS), ids=name_of
)
def test_no_file_holds_a_secret(path: Path) -> None:
    assert not SECRET.search(path.read_text(encoding="utf-8"))


def test_no_secret_is_given_by_environment_or_build_argument() -> None:
    assert not any("environment" in service or "env_file" in service for service in SERVICES.values())
    dockerfile = (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^ARG ([A-Z]+)", dockerfile, re.MULTILINE)) == {"BASE", "WHEELS"}
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert ":latest" not in dockerfile


def test_a_build_sees_only_what_it_needs() -> None:
    lines = (COMPOSE / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    seen = {rule[1:] for rule in rules if rule.startswith("!")}
    assert not seen & {".git", "tests", "docs", ".", "pki"}
