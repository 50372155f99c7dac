"""`isthmus sign`, from key to verified bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from isthmus.cli.main import main
from tests.runtime.tiny_bundle import TinyBundle


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_a_bundle_is_signed_and_verified_by_command(
    tiny_bundle: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key = tmp_path / "a.bundle", tmp_path / "maker.pem"
    shutil.copytree(tiny_bundle.path, folder)
    assert run("sign", "key", key) == 0
    assert run("bundle", "verify", folder, "--maker", f"{key}.pub") == 3
    assert "not signed" in capsys.readouterr().err
    assert run("sign", "bundle", folder, "--key", key) == 0
    assert run("bundle", "verify", folder, "--maker", f"{key}.pub") == 0
    assert run("sign", "key", key) == 3
