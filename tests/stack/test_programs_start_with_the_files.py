"""The TOML files of the stack are read by the programs they are for."""

from __future__ import annotations

from pathlib import Path

import cloud.control.settings
import cloud.settings
import device.settings
import edge.settings

COMPOSE = Path(__file__).parents[2] / "compose"


def test_the_tiers_read_theirs_and_may_listen_to_others() -> None:
    for program, name in ((edge.settings, "edge"), (cloud.settings, "cloud")):
        settings = program.load(COMPOSE / f"{name}.toml")
        settings.listen.require_safe()
        assert settings.name == name
        assert settings.trust.keys


def test_the_control_plane_reads_its_file_and_takes_bundles_of_known_makers_only() -> None:
    settings = cloud.control.settings.load(COMPOSE / "control.toml")
    settings.listen.require_safe()
    assert settings.listen.tls is not None
    assert settings.makers


def test_the_devices_read_theirs_and_call_by_tls() -> None:
    settings = device.settings.load(COMPOSE / "camera.toml", {"name": "camera-1"})
    assert settings.name == "camera-1"
    assert settings.edge is not None
    assert settings.cloud is not None
    for dial in (settings.edge, settings.cloud):
        dial.require_safe()
        assert not dial.is_near
    assert settings.trust.keys
    assert settings.sinks
    assert settings.updates is not None
    assert settings.updates.control is not None


def test_there_are_pictures_of_every_digit_to_stream() -> None:
    labels = sorted(path.stem[-1] for path in (COMPOSE / "frames").glob("*.jpg"))
    assert labels == sorted("0123456789" * 2)
