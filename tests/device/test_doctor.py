"""Fifty planted faults: the doctor names the true cause of each, and none in a sound agent."""

import datetime
import json
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from device.doctor import Environment, Finding, examine
from isthmus.cli.main import main
from protocol.messages import Refusal
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry, read_manifest
from runtime.signing import new_key, sign
from tests.transport.pki import Pki
from transport.server import FrameServer, Identity
from transport.settings import Listen

LIMIT_S = 10.0


@dataclass
class Ward:
    """A sound agent with a tier, for a fault to be planted in."""

    folder: Path
    overrides: dict[str, Any]
    opened: AsyncExitStack
    bundle: Path
    pictures: Path
    environment: Environment = field(default_factory=Environment)
    configuration: Path | None = None
    served: list[bytes] | None = None
    _pki: Pki | None = None

    @property
    def pki(self) -> Pki:
        if self._pki is None:
            self._pki = Pki(self.folder / "pki")
            self._pki.enrol("cam")
        return self._pki

    async def tier(self, listen: Listen | None = None) -> int:
        """A tier that serves the bundle, or what `served` says."""
        digests = self.served
        if digests is None:
            with Bundle.open(self.bundle) as bundle:
                digests = [bundle.digest]

        async def refuse(request: Any) -> Refusal:
            raise AssertionError("the doctor sends no frames")

        server = FrameServer(refuse, listen or Listen(), Identity("edge", lambda: digests))
        await server.start()
        self.opened.push_async_callback(server.stop)
        return server.port

    async def tls(self, listen: Listen | None = None) -> None:
        """Talk TLS with the tier."""
        port = await self.tier(listen or self.pki.listen)
        self.overrides["edge.target"] = f"127.0.0.1:{port}"
        for key, name in (("ca", "ca.pem"), ("certificate", "cam.pem"), ("key", "cam.key")):
            self.overrides[f"edge.tls.{key}"] = str(self.pki.folder / name)

    def manifest(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Alter the manifest's JSON."""
        path = self.bundle / MANIFEST_NAME
        tree = json.loads(path.read_text())
        change(tree)
        path.write_text(json.dumps(tree))

    def graph(self, name: str, change: Callable[[Any], None]) -> None:
        """Alter a graph and enter its new digest in the manifest."""
        model = onnx.load(self.bundle / name, load_external_data=False)
        change(model.graph)
        (self.bundle / name).write_bytes(model.SerializeToString())
        self.enter(name)

    def enter(self, name: str) -> None:
        path = self.bundle / MANIFEST_NAME
        manifest = read_manifest(path.read_bytes())
        files = dict(manifest.files) | {name: file_entry(self.bundle / name)}
        path.write_bytes(manifest.model_copy(update={"files": files}).to_bytes())

    async def examine(self, **options: Any) -> list[Finding]:
        return await examine(self.configuration, self.overrides, environment=self.environment, **options)


Plant = Callable[[Ward], Awaitable[None] | None]
FAULTS: dict[str, tuple[str, str, Plant]] = {}


def fault(check: str, word: str) -> Callable[[Plant], Plant]:
    """Register a fault: the check that has to name it, and a word that only the true cause has."""

    def register(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = check, word, plant
        return plant

    return register


def set_to(check: str, word: str, name: str, **overrides: Any) -> None:
    """A fault that is a wrong setting."""

    def plant(ward: Ward) -> None:
        for key, value in overrides.items():
            ward.overrides[key.replace("__", ".")] = value.format(ward=ward) if isinstance(value, str) else value

    plant.__name__ = name
    fault(check, word)(plant)


# Settings.
set_to("settings", "did you mean 'rate_hz'", "a_misspelt_key", source__rate_hs=5)
set_to("settings", "policy", "a_fixed_policy_without_a_cut", policy__name="fixed")
set_to("settings", "durable", "durable_without_a_spool", source__kind="push", source__path=None, source__durable=True)
set_to("settings", "deadline_s", "a_deadline_of_nothing", deadline_s=0)
set_to("settings", "edge.target", "a_target_without_a_port", edge__target="tier.example")
set_to("settings", "sinks", "a_sink_of_no_kind", sinks=[{"kind": "fax", "path": "x"}])


@fault("settings", "is not TOML")
def a_configuration_that_is_no_toml(ward: Ward) -> None:
    ward.configuration = ward.folder / "device.toml"
    ward.configuration.write_text("bundle = digits\n")


@fault("settings", "there is no configuration file")
def a_configuration_that_is_not_there(ward: Ward) -> None:
    ward.configuration = ward.folder / "absent.toml"


# Clock.
@fault("clock", "1970")
def a_clock_that_was_never_set(ward: Ward) -> None:
    ward.environment = replace(ward.environment, wall=lambda: 1000.0)


@fault("clock", "the bundle was written")
def a_clock_a_day_behind_the_bundle(ward: Ward) -> None:
    path = ward.bundle / MANIFEST_NAME
    os.utime(path, (path.stat().st_mtime + 86_400,) * 2)


# Certificates.
@fault("certificates", "tls.ca = ")
async def an_authority_that_is_not_there(ward: Ward) -> None:
    await ward.tls()
    ward.overrides["edge.tls.ca"] = str(ward.folder / "absent.pem")


@fault("certificates", "tls.key = ")
async def a_key_that_is_not_there(ward: Ward) -> None:
    await ward.tls()
    (ward.pki.folder / "cam.key").unlink()


@fault("certificates", "it is not PEM")
async def a_certificate_that_is_no_pem(ward: Ward) -> None:
    await ward.tls()
    (ward.pki.folder / "cam.pem").write_bytes(b"\x30\x82")


@fault("certificates", "does not belong to")
async def a_key_of_another_certificate(ward: Ward) -> None:
    await ward.tls()
    ward.pki.enrol("other")
    ward.overrides["edge.tls.key"] = str(ward.pki.folder / "other.key")


@fault("certificates", "edge.tls.certificate expired")
async def a_certificate_that_has_expired(ward: Ward) -> None:
    await ward.tls()
    issue(ward, "cam", begin_days=-20, end_days=-10)


@fault("certificates", "valid only from")
async def a_certificate_of_tomorrow(ward: Ward) -> None:
    await ward.tls()
    issue(ward, "cam", begin_days=1, end_days=10)


@fault("certificates", "is not for a caller")
async def a_tiers_certificate_on_a_device(ward: Ward) -> None:
    await ward.tls()
    issue(ward, "cam", usage=ExtendedKeyUsageOID.SERVER_AUTH)


@fault("certificates", "is no authority")
async def a_certificate_in_place_of_the_authority(ward: Ward) -> None:
    await ward.tls()
    ward.overrides["edge.tls.ca"] = str(ward.pki.folder / "tier.pem")


set_to("certificates", "without TLS would show", "a_far_tier_without_tls", edge__target="tier.example:7201")


@fault("certificates", "maker.pem.pub")
def a_makers_key_that_is_not_there(ward: Ward) -> None:
    ward.overrides |= {"trust.keys": [str(ward.folder / "maker.pem.pub")], "trust.ledger": str(ward.folder / "l.json")}


@fault("certificates", "ledger")
def a_ledger_that_cannot_be_read(ward: Ward) -> None:
    new_key(ward.folder / "maker.pem")
    (ward.folder / "l.json").write_text("{")
    ward.overrides |= {"trust.keys": [str(ward.folder / "maker.pem.pub")], "trust.ledger": str(ward.folder / "l.json")}


# Names, ports, handshakes.
@fault("names", "is not known")
async def a_name_that_nobody_has(ward: Ward) -> None:
    await ward.tls()
    ward.overrides |= {"edge.target": "no-such-tier.invalid:7201", "trust.unsigned": True}


set_to("ports", "nobody listens on 127.0.0.1 port 9", "a_tier_that_is_not_there", edge__target="127.0.0.1:9")


@fault("ports", "does not speak TLS")
async def tls_to_a_tier_without_it(ward: Ward) -> None:
    await ward.tls()
    ward.overrides["edge.target"] = f"127.0.0.1:{await ward.tier()}"


@fault("ports", "is not for 'tier.example'")
async def a_tier_of_another_name(ward: Ward) -> None:
    await ward.tls()
    ward.overrides["edge.tls.server_name"] = "tier.example"


@fault("ports", "is not from the authority")
async def a_tier_of_another_authority(ward: Ward) -> None:
    await ward.tls()
    stranger = Pki(ward.folder / "stranger")
    ward.overrides["edge.target"] = f"127.0.0.1:{await ward.tier(stranger.listen)}"


@fault("ports", "does not take this device's certificate")
async def a_device_of_another_authority(ward: Ward) -> None:
    await ward.tls()
    stranger = Pki(ward.folder / "stranger")
    stranger.enrol("cam")
    ward.overrides["edge.tls.certificate"] = str(stranger.folder / "cam.pem")
    ward.overrides["edge.tls.key"] = str(stranger.folder / "cam.key")


# Tiers.
@fault("tiers", "turns this device away")
async def a_device_that_was_revoked(ward: Ward) -> None:
    await ward.tls()
    (ward.pki.folder / "revoked").write_text("cam  # stolen\n")


@fault("tiers", "is no tier without TLS")
async def a_tier_with_tls_called_without(ward: Ward) -> None:
    await ward.tls()
    ward.environment = replace(ward.environment, greeting_s=1.0)
    for key in ("ca", "certificate", "key"):
        del ward.overrides[f"edge.tls.{key}"]


@fault("tiers", "is no tier")
def something_else_at_the_tiers_port(ward: Ward) -> None:
    ward.environment = replace(ward.environment, greeting_s=1.0)
    listener = ward.opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    ward.overrides["edge.target"] = f"127.0.0.1:{listener.getsockname()[1]}"


@fault("tiers", "does not serve this device's bundle")
async def a_tier_with_another_bundle(ward: Ward) -> None:
    ward.served = [b"\x01" * 32]
    ward.overrides["edge.target"] = f"127.0.0.1:{await ward.tier()}"


# Bundle.
set_to("bundle", "there is no bundle", "a_bundle_that_is_not_there", bundle="absent.bundle")


@fault("bundle", "another SHA-256")
def a_weight_that_changed(ward: Ward) -> None:
    path = ward.bundle / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@fault("bundle", "weights.safetensors")
def a_weight_file_cut_short(ward: Ward) -> None:
    path = ward.bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@fault("bundle", "segment_1.onnx")
def a_segment_that_is_missing(ward: Ward) -> None:
    (ward.bundle / "segment_1.onnx").unlink()


@fault("bundle", "stray.txt")
def a_file_that_nobody_listed(ward: Ward) -> None:
    (ward.bundle / "stray.txt").write_text("hello")


@fault("bundle", "99")
def a_bundle_of_another_release(ward: Ward) -> None:
    ward.manifest(lambda tree: tree.update(schema_version=99))


@fault("bundle", "elements")
def a_tensor_of_absurd_size(ward: Ward) -> None:
    ward.manifest(lambda tree: tree["outputs"][0].update(shape=[1 << 20, 1 << 20]))


def trusting(ward: Ward, counter: int = 0) -> None:
    key = new_key(ward.folder / "maker.pem")
    sign(ward.bundle, key)
    (ward.folder / "l.json").write_text(json.dumps({"tiny": counter}))
    ward.overrides |= {"trust.keys": [str(ward.folder / "maker.pem.pub")], "trust.ledger": str(ward.folder / "l.json")}


@fault("bundle", "is not signed")
def a_bundle_without_a_signature(ward: Ward) -> None:
    trusting(ward)
    (ward.bundle / "manifest.sig").unlink()


@fault("bundle", "not trusted here")
def a_bundle_of_another_maker(ward: Ward) -> None:
    trusting(ward)
    (ward.bundle / "manifest.sig").unlink()
    sign(ward.bundle, new_key(ward.folder / "stranger.pem"))


@fault("bundle", "counter 0, and 7 has been accepted")
def an_older_bundle_than_was_accepted(ward: Ward) -> None:
    trusting(ward, counter=7)


# Model.
@fault("model", "cannot load")
def an_operator_that_the_engine_does_not_know(ward: Ward) -> None:
    ward.graph("segment_1.onnx", lambda graph: setattr(graph.node[0], "op_type", "Frobnicate"))


@fault("model", "segment 1 gives")
def a_segment_of_another_shape(ward: Ward) -> None:
    def halve(graph: Any) -> None:
        for attribute in graph.node[0].attribute:
            if attribute.name == "strides":
                attribute.ints[:] = [4, 4]

    ward.graph("segment_1.onnx", halve)


@fault("model", "finite")
def weights_that_are_no_numbers(ward: Ward) -> None:
    path = ward.bundle / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-4000:] = np.full(1000, np.nan, np.float32).tobytes()
    path.write_bytes(data)
    ward.enter("weights.safetensors")


# Source.
set_to("source", "is not a folder", "a_source_that_is_not_there", source__path="absent")
set_to("source", "names no file", "a_pattern_of_nothing", source__kind="glob", source__path="absent/*.png")


@fault("source", "the model takes uint8 [32, 32, 3]")
def pictures_of_another_size(ward: Ward) -> None:
    for path in ward.pictures.iterdir():
        Image.new("RGB", (64, 48)).save(path)


@fault("source", "can be read")
def pictures_that_are_none(ward: Ward) -> None:
    for path in ward.pictures.iterdir():
        path.write_bytes(b"not a picture")


@fault("source", "cannot be listened on")
def a_push_port_that_is_taken(ward: Ward) -> None:
    listener = ward.opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    del ward.overrides["source.path"]
    ward.overrides |= {"source.kind": "push", "source.port": listener.getsockname()[1]}


# Sinks, disk, machine.
set_to(
    "sinks", "nobody listens", "a_webhook_that_is_not_there", sinks=[{"kind": "webhook", "url": "http://127.0.0.1:9/a"}]
)
set_to("engine", "may not run", "processors_that_are_not_there", engine__processors=[4095])
set_to("filter", "cannot be read", "a_filter_that_is_not_there", filter__path="{ward.folder}/none.filter")
set_to("sinks", "nobody listens", "a_broker_that_is_not_there", sinks=[{"kind": "mqtt", "target": "127.0.0.1:9"}])
set_to("disk", "is a folder", "a_history_that_is_a_folder", history__path="{ward.folder}")
set_to("disk", "is no folder", "a_spool_below_a_file", spool__path="{ward.pictures}/0.png/spool.db")
set_to(
    "disk", "may grow to", "a_spool_larger_than_the_disk", spool__path="{ward.folder}/s.db", spool__max_bytes=1 << 60
)
set_to(
    "disk", "cannot be made", "a_sink_on_a_read_only_place", sinks=[{"kind": "jsonl", "path": "/proc/answers.jsonl"}]
)


@fault("disk", "is damaged")
def a_spool_that_is_damaged(ward: Ward) -> None:
    (ward.folder / "s.db").write_bytes(b"nothing like a database" * 1000)
    ward.overrides["spool.path"] = str(ward.folder / "s.db")


@fault("memory", "MiB of memory")
def a_machine_without_memory(ward: Ward) -> None:
    ward.environment = replace(ward.environment, available_bytes=lambda: 20 << 20)


@fault("versions", "numpy 2.1.0")
def a_numpy_that_is_too_new(ward: Ward) -> None:
    installed = dict(ward.environment.installed()) | {"numpy": "2.1.0"}
    ward.environment = replace(ward.environment, installed=lambda: installed)


def issue(
    ward: Ward, name: str, *, begin_days: float = -1, end_days: float = 1,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> None:  # fmt: skip
    """Sign a certificate of the authority by hand, as no tool of ours would."""
    folder, now = ward.pki.folder, datetime.datetime.now(datetime.UTC)
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    (secret,) = [path for path in folder.glob("*.key") if path.stem not in (name, "tier", "other")]
    signer = serialization.load_pem_private_key(secret.read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begin_days))
        .not_valid_after(now + datetime.timedelta(days=end_days))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(signer, hashes.SHA256() if isinstance(signer, ec.EllipticCurvePrivateKey) else None)  # type: ignore[arg-type]
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture
async def ward(device, tiny_bundle):
    bundle = Path(shutil.copytree(tiny_bundle.path, device.folder / "copy.bundle"))
    overrides = dict(device.settings())
    overrides |= {"bundle": str(bundle), "history.path": str(device.folder / "history.jsonl")}
    async with AsyncExitStack() as opened:
        made = Ward(device.folder, overrides, opened, bundle, device.pictures)
        overrides["edge.target"] = f"127.0.0.1:{await made.tier()}"
        yield made


@pytest.mark.parametrize("secure", [False, True])
async def test_a_sound_agent_is_found_well(ward, secure):
    if secure:
        await ward.tls()
        trusting(ward)
        before = (ward.folder / "l.json").read_text()
    findings = await ward.examine()
    assert [finding.fault for finding in findings if finding.fault] == []
    assert len(findings) == 15
    if secure:
        assert (ward.folder / "l.json").read_text() == before, "an examination leaves no trace"


def test_there_are_at_least_fifty_faults():
    assert len(FAULTS) >= 50


DEFAULT = 5
"""One fault of so many is planted in the default run, all of them in the long tests."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if number % DEFAULT else []) for number, name in enumerate(FAULTS)],
)
async def test_the_true_cause_is_named(ward, name):
    check, word, plant = FAULTS[name]
    planted = plant(ward)
    if planted is not None:
        await planted
    findings = await ward.examine()
    *before, last = findings
    assert (last.check, word in last.fault + "; " + last.fix) == (check, True), last
    assert last.fix
    assert not any(finding.fault for finding in before)
    assert all(finding.seconds <= LIMIT_S for finding in findings), "the limit that the doctor keeps by itself"


async def test_without_the_network_nothing_is_called(ward):
    ward.overrides["edge.target"] = "127.0.0.1:9"
    findings = await ward.examine(network=False)
    assert not any(finding.fault for finding in findings)
    assert {"names", "ports", "tiers"}.isdisjoint(finding.check for finding in findings)


def test_the_command_prints_the_cause_and_its_fix(device, capsys):
    path = device.folder / "device.toml"
    path.write_text(f'bundle = "{device.bundle}"\n[source]\npath = "absent"\n')
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path)])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert "- source" in told.out
    assert "isthmus: source: source.path 'absent' is not a folder" in told.err
    with pytest.raises(SystemExit) as ended:
        main(["device", str(path), "--check", "--json", "--set", f"source.path={device.pictures}"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["well"] is True
