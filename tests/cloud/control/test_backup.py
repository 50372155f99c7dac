"""A backup holds all that was acknowledged before it began, and makes the same control plane anywhere."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from cloud.control.errors import BackupUnusable
from cloud.control.program import make_backup, restore_backup
from cloud.control.settings import Settings
from isthmus.cli.main import main
from tests.cloud.control.conftest import Maker, Served, serving
from tests.cloud.control.postgres import a_postgres
from transport.settings import Listen


@pytest.fixture
def lived_in(own_maker: Maker, tmp_path: Path) -> Iterator[Served]:
    """A control plane that runs, with a bundle, a rollout, devices and a policy."""
    settings = Settings(folder=tmp_path / "old", listen=Listen(), makers=(own_maker.public,))
    with serving(settings) as served:
        client = served.client()
        served.device("camera-1", "kept-model")
        digest = client.publish(own_maker.release(1, "kept-model"))["digest"]
        client.post("/v1/rollouts", {"digest": digest, "rules": {"hold_s": 600}})
        yield served


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows as the database itself gives them, without the tables of the code."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = ("bundles", "devices", "rollouts", "canaries", "tokens", "audit", "state")
        found = {name: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {name}"))), key=str) for name in names}
    engine.dispose()
    return found


def moved(settings: Settings, folder: Path, **more: Any) -> Settings:
    return settings.model_copy(update={"folder": folder, **more})


def test_what_runs_is_copied_and_a_copy_runs(lived_in: Served, tmp_path: Path):
    stream = io.BytesIO()
    make_backup(lived_in.settings, stream)
    copy = moved(lived_in.settings, tmp_path / "new")
    restore_backup(copy, io.BytesIO(stream.getvalue()))
    assert rows_of(copy.database_url) == rows_of(lived_in.settings.database_url)
    before = lived_in.client()
    with serving(copy) as served:
        after = served.client(lived_in.admin)  # the old token opens the copy
        for path in ("/v1/bundles", "/v1/devices/camera-1", "/v1/rollouts"):
            assert after.get(path) == before.get(path)
        (digest,) = [one["digest"] for one in after.get("/v1/bundles")]
        zips = [(settings.folder / "bundles" / f"{digest}.zip").read_bytes() for settings in (copy, lived_in.settings)]
        assert zips[0] == zips[1]


@pytest.mark.slow
def test_it_moves_from_sqlite_to_postgresql_and_back(lived_in: Served, tmp_path: Path):
    first, second = io.BytesIO(), io.BytesIO()
    make_backup(lived_in.settings, first)
    with a_postgres() as url:
        there = moved(lived_in.settings, tmp_path / "there", database=url)
        restore_backup(there, io.BytesIO(first.getvalue()))
        with serving(there) as served:  # new entries of the audit log get numbers after the restored ones
            served.client().post("/v1/tokens", {"name": "lee", "role": "viewer"})
        make_backup(there, second)
    back = moved(lived_in.settings, tmp_path / "back")
    restore_backup(back, io.BytesIO(second.getvalue()))
    old, new = rows_of(lived_in.settings.database_url), rows_of(back.database_url)
    assert new["bundles"] == old["bundles"]
    assert {row[0] for row in old["audit"]} < {row[0] for row in new["audit"]}


def test_it_goes_into_an_empty_control_plane_only(lived_in: Served):
    stream = io.BytesIO()
    make_backup(lived_in.settings, stream)
    with pytest.raises(BackupUnusable, match="something here already"):
        restore_backup(lived_in.settings, io.BytesIO(stream.getvalue()))


def rewritten(stream: bytes, change: Any) -> io.BytesIO:
    """The same tar with each member's content changed; None leaves it out."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(stream)) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            content = change(member.name, file.read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return io.BytesIO(made.getvalue())


def test_what_is_damaged_foreign_or_cut_short_restores_nothing(lived_in: Served, tmp_path: Path):
    stream = io.BytesIO()
    make_backup(lived_in.settings, stream)
    whole = stream.getvalue()

    def older(name: str, content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {"schema": "0000"}).encode() if name == "backup.json" else content

    def flipped(name: str, content: bytes) -> bytes:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if ".zip" in name else content

    def without_audit(name: str, content: bytes) -> bytes | None:
        return None if "audit" in name else content

    damaged = {
        "another release": rewritten(whole, older),
        "is not usable": rewritten(whole, flipped),
        "ends early": rewritten(whole, without_audit),
        "no whole backup": io.BytesIO(whole[: len(whole) // 2]),
        "does not begin": rewritten(whole, lambda name, content: None if name == "backup.json" else content),
    }
    for number, (reason, source) in enumerate(damaged.items()):
        fresh = moved(lived_in.settings, tmp_path / f"fresh-{number}")
        with pytest.raises(BackupUnusable, match=reason):
            restore_backup(fresh, source)
        assert not any(rows for name, rows in rows_of(fresh.database_url).items() if name != "state")


def test_the_command_writes_and_reads_a_file(lived_in: Served, own_maker: Maker, tmp_path: Path):
    def control(folder: Path, option: str) -> int:
        settings = [f"folder={folder}", f'makers=["{own_maker.public}"]']
        with pytest.raises(SystemExit) as ended:
            main(["control", *(part for one in settings for part in ("--set", one)), option, str(tmp_path / "all.tar")])
        return int(ended.value.code or 0)

    assert control(lived_in.settings.folder, "--backup") == 0
    assert control(lived_in.settings.folder, "--backup") == 2, "an older backup is not overwritten"
    assert control(tmp_path / "new", "--restore") == 0
    assert control(tmp_path / "new", "--restore") == 2, "there is something now"
