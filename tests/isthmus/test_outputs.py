"""What a command is to write is looked at first, and folders that are not its own are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.builtin.demo import BUNDLE
from isthmus.cli.main import app, main

WRITERS = [
    ["profile", str(BUNDLE), "--output"],
    ["inspect", str(BUNDLE), "--output"],
    ["filter", str(BUNDLE), "--something", "a", "--nothing", "b", "--output"],
    ["testbed", "calibrate", "--output"],
    ["enroll", "token", "pki", "camera-1", "--tier", "edge.local:7299", "--output"],
    ["explain", "run", "history.jsonl", "--plot"],
    ["demo", "--report"],
]


def told(arguments: list[str]) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize("command", WRITERS, ids=lambda command: " ".join(command[:2]))
def test_a_file_that_cannot_be_written_is_refused_before_the_work(command: list[str], tmp_path: Path) -> None:
    code, words = told([*command, str(tmp_path)])
    assert code == 2
    assert "is a folder; name a file" in words
    code, words = told([*command, str(tmp_path / "nowhere" / "file")])
    assert code == 2
    assert "make it first" in words


def test_a_bundle_for_a_folder_that_is_not_there_is_refused_before_the_export(tmp_path: Path) -> None:
    code, words = told(["export", "none:none", "--output", str(tmp_path / "nowhere" / "my.bundle")])
    assert code == 2
    assert "make it first" in words


def test_the_demo_never_empties_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear")
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--work", str(tmp_path), "--report", str(tmp_path / "report.html")])
    assert ended.value.code == 2
    assert letter.read_text() == "dear"


def test_a_path_that_the_system_refuses_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["sign", "key", str(tmp_path / "file" / "maker.pem")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"isthmus: {str(tmp_path / 'file' / 'maker.pem')!r} cannot be used: ")


def test_a_full_disk_is_told_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(BUNDLE), "--output", "/dev/full"])
    assert ended.value.code == 2
    assert "isthmus: not everything could be written: No space left on device" in capsys.readouterr().err


def test_a_token_for_a_tier_that_is_no_address_is_not_made(tmp_path: Path) -> None:
    code, words = told(["enroll", "token", str(tmp_path), "camera-1", "--tier", "edge.local"])
    assert code == 2
    assert "it has no port; write host:port" in words
