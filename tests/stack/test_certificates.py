"""The one-shot service: what it makes works between real programs, and making it again changes nothing."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compose import certificates
from isthmus.builtin.demo import BUNDLE
from runtime.bundle import Bundle
from runtime.errors import BundleUntrusted
from runtime.signing import Trust, public_key
from transport.authority import Authority


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("authority", "identity", "bundle"):
        (tmp_path / name).mkdir()
    return tmp_path


def run(folders: Path, *more: str) -> int:
    return certificates.main(
        [
            f"--authority={folders / 'authority'}",
            f"--identities={folders / 'identity'}",
            f"--bundle={folders / 'bundle'}",
            f"--model={BUNDLE}",
            "--tier=edge",
            "--broker=mosquitto",
            "--worker=edge",
            "--device=camera-1",
            "--device=camera-2",
            *more,
        ]
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shake_hands(server: Path, client: Path, *, host: str) -> str | None:
    """A TLS handshake in memory; the name of the caller that the server sees."""
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(server / "tier.pem", server / "tier.key")
    listening.load_verify_locations(server / "ca.pem")
    listening.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.create_default_context(cafile=str(client / "ca.pem"))
    calling.load_cert_chain(client / "device.pem", client / "device.key")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = calling.wrap_bio(down, up, server_hostname=host)
    far = listening.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = far.getpeercert()
    assert certificate is not None
    return next((value for ((key, value),) in certificate["subject"] if key == "commonName"), None)  # type: ignore[misc,str-unpack]


def test_a_device_and_a_tier_recognise_each_other(folders: Path) -> None:
    assert run(folders) == 0
    identity = folders / "identity"
    assert shake_hands(identity / "edge", identity / "camera-1", host="edge") == "camera-1"
    assert shake_hands(identity / "mosquitto", identity / "camera-2", host="mosquitto") == "camera-2"
    assert shake_hands(identity / "edge", identity / "camera-1", host="localhost") == "camera-1"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(identity / "edge", identity / "camera-1", host="elsewhere")


def test_nobody_but_the_authority_has_anothers_keys(folders: Path) -> None:
    run(folders)
    for name, own in (("edge", "tier.key"), ("mosquitto", "tier.key"), ("camera-1", "device.key")):
        keys = [path for path in (folders / "identity" / name).iterdir() if b"PRIVATE KEY" in path.read_bytes()]
        assert [path.name for path in keys] == [own]
        assert keys[0].stat().st_mode & 0o077 == 0


def test_the_copy_of_the_bundle_is_signed_by_the_key_that_everyone_is_given(folders: Path) -> None:
    run(folders)
    trust = Trust([public_key(folders / "identity" / "camera-1" / "maker.pem.pub")])
    with Bundle.open(folders / "bundle", trust=trust) as bundle:
        bundle.verify_all()
    with pytest.raises(BundleUntrusted):
        Bundle.open(BUNDLE, trust=trust)


def test_doing_it_again_changes_nothing(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folders)
    before = contents(folders)
    capsys.readouterr()
    assert run(folders) == 0
    assert contents(folders) == before
    assert "nothing to do" in capsys.readouterr().out


def test_a_login_is_random_and_made_once(folders: Path, tmp_path: Path) -> None:
    assert run(folders, "--login=grafana") == 0
    login = folders / "identity" / "grafana" / "login"
    first = login.read_text()
    assert len(first) >= 32
    assert login.stat().st_mode & 0o077 == 0
    run(folders, "--login=grafana")
    assert login.read_text() == first
    assert certificates.issue_login(tmp_path / "other")
    assert (tmp_path / "other" / "login").read_text() != first


def test_a_device_more_leaves_the_others_as_they_are(folders: Path) -> None:
    run(folders)
    before = contents(folders / "identity" / "camera-1")
    assert run(folders, "--device=camera-3") == 0
    assert contents(folders / "identity" / "camera-1") == before
    assert "user camera-3\n" in (folders / "identity" / "mosquitto" / "acl").read_text()
    assert shake_hands(folders / "identity" / "edge", folders / "identity" / "camera-3", host="edge") == "camera-3"


def test_renewing_gives_new_pairs_of_the_same_authority(folders: Path) -> None:
    run(folders)
    before = contents(folders)
    assert run(folders, "--renew") == 0
    after = contents(folders)
    for name in ("identity/edge/tier.pem", "identity/camera-1/device.key"):
        assert after[name] != before[name]
    assert after["identity/edge/ca.pem"] == before["identity/edge/ca.pem"]
    assert shake_hands(folders / "identity" / "edge", folders / "identity" / "camera-1", host="edge") == "camera-1"


def test_a_certificate_near_its_end_is_renewed(folders: Path) -> None:
    identity = folders / "identity" / "camera-1"
    identity.mkdir()
    issued = datetime.now(UTC) - timedelta(days=61)  # of 90
    old = Authority.create(folders / "authority", now=lambda: issued)
    certificates.issue_device(old, identity, "camera-1", renew=True)
    before = (identity / "device.pem").read_bytes()
    assert certificates.issue_device(Authority(folders / "authority"), identity, "camera-1")
    assert (identity / "device.pem").read_bytes() != before


def test_a_bundle_that_is_damaged_is_not_signed(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = folders / "broken"
    broken.mkdir()
    for path in BUNDLE.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert run(folders, f"--model={broken}") == 3
    assert "weights.safetensors" in capsys.readouterr().err
    assert not (folders / "bundle" / "manifest.sig").exists()


def test_the_brokers_rules_name_everyone_and_their_own_topics_only() -> None:
    rules = certificates.broker_rules("mosquitto", "edge", ["edge"], ["camera-1", "camera-2"])
    sections = dict(part.split("\n", 1) for part in rules.strip().split("user ")[1:])
    assert set(sections) == {"mosquitto", "edge", "camera-1", "camera-2"}
    assert "camera-2" not in sections["camera-1"]
    assert "write" not in sections["mosquitto"]


def test_the_authority_is_changed_while_everyone_goes_on(folders: Path) -> None:
    """The steps of docs/certificates.md, with every caller and every tier after each of them."""
    old, new = Authority.create(folders / "authority"), Authority.create(folders / "next")
    tier, names = folders / "identity" / "edge", ("camera-1", "camera-2")
    tier.mkdir()
    certificates.issue_tier(old, tier, "edge")
    cameras = [folders / "identity" / name for name in names]
    for camera in cameras:
        camera.mkdir()
        certificates.issue_device(old, camera, camera.name)

    def all_meet() -> bool:
        return all(shake_hands(tier, camera, host="edge") == camera.name for camera in cameras)

    def trust(*authorities: Authority) -> None:
        for folder in (tier, *cameras):
            (folder / "ca.pem").write_bytes(b"".join(one.pem for one in authorities))

    assert all_meet()
    trust(old, new)
    assert all_meet()
    certificates.issue_tier(new, tier, "edge", renew=True)
    trust(old, new)
    assert all_meet()
    certificates.issue_device(new, cameras[0], "camera-1", renew=True)
    trust(old, new)
    assert all_meet(), "one device of the old authority, one of the new"
    trust(new)
    assert shake_hands(tier, cameras[0], host="edge") == "camera-1"
    with pytest.raises(ssl.SSLError):
        shake_hands(tier, cameras[1], host="edge")
