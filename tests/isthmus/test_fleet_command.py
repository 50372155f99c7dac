"""`isthmus control` and `isthmus fleet` from a shell's point of view."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from isthmus.cli.main import main
from tests.cloud.control.conftest import Maker, Served, maker, plane

__all__ = ["maker", "plane"]


@pytest.fixture
def told(plane: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    token = tmp_path / "token"
    token.write_text(plane.admin + "\n")

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["fleet", *words, "--at", plane.url, "--token", str(token)])
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def test_a_bundle_is_published_rolled_out_and_taken_back(told, plane: Served, maker: Maker, tmp_path: Path):
    folder = maker.release(1, "by-command").with_suffix("")
    digest = json.loads(told("publish", str(folder), "--json"))["digest"]
    assert digest[:16] in told("bundles")
    plane.device("camera-1", "by-command")
    rules = tmp_path / "rules.toml"
    rules.write_text("steps = [0.5, 1.0]\nmin_frames = 7\n")
    rollout = json.loads(told("rollout", digest[:12], "--rules", str(rules), "--json"))["id"]
    shown = json.loads(told("rollouts", "--json"))[0]
    assert (shown["id"], shown["rules"]["min_frames"], shown["canaries"]) == (rollout, 7, 1)
    assert rollout in told("rollback", rollout, "--reason", "a test")
    assert json.loads(told("rollouts", "--json"))[0]["reason"] == "a test"
    assert json.loads(told("audit", "--json"))[0]["action"] == "roll back"


def test_devices_policies_and_tokens(told, plane: Served, tmp_path: Path):
    plane.device("camera-2", "by-policy")
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "fixed"\ncut = 1\nroute = "device"\n')
    told("policy", str(policy), "--device", "camera-2")
    assert json.loads(told("device", "camera-2"))["desired"]["policy"]["cut"] == 1
    assert "camera-2" in told("devices")
    assert "expected" in told("enroll", "camera-3")
    assert "shut out" in told("shut-out", "camera-3")
    made = json.loads(told("token", "lee", "--role", "operator", "--json"))
    assert made["token"] not in told("tokens", "--json")
    assert "no more" in told("revoke", made["id"])


def test_an_admin_is_made_without_a_running_control_plane(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["control", "--set", f"folder={tmp_path}", "--admin", "kim"])
    assert capsys.readouterr().out.startswith("isthmus_")


@pytest.mark.parametrize(
    ("words", "sentence"), [(["devices"], "no token can be read"), (["rollout", "zz"], "no token")]
)
def test_what_cannot_work_is_said_in_one_sentence(words, sentence, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["fleet", *words, "--token", str(tmp_path / "none")])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "steps = [", "\x00"])
def test_a_file_that_is_no_toml_is_named(content, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if content is not None:
        (tmp_path / "rules.toml").write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["fleet", "policy", str(tmp_path / "rules.toml")])
    assert ended.value.code == 2
    assert "cannot be read as TOML" in capsys.readouterr().err


def test_a_control_plane_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "token").write_text("isthmus_x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit) as ended:
            main(["fleet", "devices", "--at", url, "--token", str(tmp_path / "token")])
    assert ended.value.code == 5
    assert url in capsys.readouterr().err
