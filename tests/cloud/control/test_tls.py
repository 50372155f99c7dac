"""Over TLS a device is who its certificate says, and people need none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud.control.client import Client
from cloud.control.settings import EnrolmentSettings, Settings
from device.updates.plane import ControlPlane, ControlPlaneError
from device.updates.settings import ControlSettings
from runtime.errors import SettingsError
from runtime.settings import check_settings
from tests.cloud.control.conftest import Maker, Served, serving
from transport.authority import Authority
from transport.enrolment import Token, enrol
from transport.settings import CallerTls, Listen, Tls


@dataclass(frozen=True)
class Guarded:
    served: Served
    pki: Path
    revoked: Path

    @property
    def ca(self) -> Path:
        return self.pki / "ca.pem"

    def operator(self) -> Client:
        return Client(self.served.url, self.served.admin, self.ca)

    def enrolled(self, name: str, folder: Path) -> Path:
        """A folder with the certificate that a device got for its token."""
        with closing(self.operator()) as client:
            token = client.post("/v1/invitations", {"name": name})["token"]
        asyncio.run(enrol(Token.model_validate(token), folder))
        return folder

    def asking(self, name: str, folder: Path) -> ControlPlane:
        tls = CallerTls(ca=folder / "ca.pem", certificate=folder / "device.pem", key=folder / "device.key")
        made = ControlPlane(ControlSettings(url=self.served.url, tls=tls), name)
        self.served.opened.callback(made.close)
        return made


@pytest.fixture(scope="module")
def guarded(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority.create(folder / "pki")
    key, certificate = authority.tier("control", ["127.0.0.1"])
    (folder / "control.key").write_bytes(key)
    (folder / "control.pem").write_bytes(certificate)
    (folder / "revoked").touch()
    tls = Tls(
        certificate=folder / "control.pem", key=folder / "control.key", client_ca=folder / "pki" / "ca.pem",
        revoked=folder / "revoked",
    )  # fmt: skip
    settings = Settings(
        folder=folder / "state", listen=Listen(tls=tls), makers=(maker.public,), judge_s=0.05,
        enrolment=EnrolmentSettings(authority=folder / "pki", reached_as="127.0.0.1", port=0),
    )  # fmt: skip
    with serving(settings) as served:
        yield Guarded(served, folder / "pki", folder / "revoked")


def test_a_device_enrols_and_is_known_by_its_certificate(guarded: Guarded, maker: Maker, tmp_path: Path):
    camera = guarded.asking("camera-1", guarded.enrolled("camera-1", tmp_path / "camera-1"))
    camera.register("tls-model", {"cores": 4})
    assert camera.desired("", 0.0)["bundle"] is None
    with closing(guarded.operator()) as client:
        assert client.get("/v1/devices/camera-1")["state"] == "active"
        digest = client.publish(maker.release(1, "tls-model"))["digest"]
        client.post("/v1/rollouts", {"digest": digest})
    wanted = camera.desired("", 0.0)["bundle"]
    part = tmp_path / "part"
    part.write_bytes((maker.folder / "tls-model-1-True.zip").read_bytes()[:1000])
    camera.fetch(digest, wanted["bytes"], part)
    assert part.read_bytes() == (maker.folder / "tls-model-1-True.zip").read_bytes(), "it went on where it ended"


def test_nobody_speaks_for_another_device_nor_without_a_certificate(guarded: Guarded, tmp_path: Path):
    folder = guarded.enrolled("camera-2", tmp_path / "camera-2")
    with pytest.raises(ControlPlaneError, match="camera-2's, and this door is camera-3's"):
        guarded.asking("camera-3", folder).register("any", {})
    with closing(guarded.operator()) as client, pytest.raises(Exception, match="shows its certificate"):
        client.get("/v1/agent/camera-2/desired")


def test_a_revoked_certificate_is_turned_away(guarded: Guarded, tmp_path: Path):
    camera = guarded.asking("camera-4", guarded.enrolled("camera-4", tmp_path / "camera-4"))
    camera.register("any", {})
    guarded.revoked.write_text("camera-4\n")

    def until_turned_away() -> None:
        while True:  # the list is read again after a second
            camera.desired("", 0.0)

    with pytest.raises(ControlPlaneError, match="revoked"):
        until_turned_away()


def test_a_token_is_good_once(guarded: Guarded, tmp_path: Path):
    with closing(guarded.operator()) as client:
        token = Token.model_validate(client.post("/v1/invitations", {"name": "camera-5"})["token"])
    asyncio.run(enrol(token, tmp_path / "first"))
    with pytest.raises(Exception, match="has been used"):
        asyncio.run(enrol(token, tmp_path / "second"))


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"listen": {"host": "0.0.0.0"}, "unsigned": False}, "makers"),
        ({"makers": ["a.pub"], "unsigned": True}, "exclude each other"),
    ],
)
def test_settings_that_would_hand_out_anyones_bundles_are_refused(tree, word):
    with pytest.raises(SettingsError, match=word):
        check_settings(Settings, {"folder": "x", **tree})


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"url": "http://control.example:7300"}, "https"),
        ({"url": "https://control.example:7300"}, "tls"),
        ({"url": "ftp://control.example"}, "url"),
    ],
)
def test_a_device_does_not_ask_beyond_this_machine_without_tls(tree, word):
    with pytest.raises(SettingsError, match=word):
        check_settings(ControlSettings, tree)
