"""The database: migrations make what the code expects, and a change is all or nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, inspect, select, text

from cloud.control import fleet, people
from cloud.control.database import Database
from cloud.control.errors import DatabaseUnusable
from cloud.control.messages import Registration, Report
from cloud.control.people import ITSELF, Actor, Role
from cloud.control.tables import audit, counts, devices, metadata, refusals
from cloud.control.telemetry import Telemetry
from tests.cloud.control.postgres import a_postgres

DIGEST = "0" * 64


@pytest.fixture
def database(tmp_path: Path):
    made = Database(f"sqlite:///{tmp_path / 'control.db'}")
    yield made
    made.close()


def assert_is_what_the_code_expects(url: str) -> None:
    """Alembic's own comparison of a database with the tables in the code."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        names = {index["name"] for index in inspect(connection).get_indexes("rollouts")}
    engine.dispose()
    assert "one_running_rollout_of_a_model" in names


def test_migrations_make_the_tables_that_the_code_names(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'control.db'}"
    Database(url).close()
    Database(url).close()  # a second start changes nothing
    assert_is_what_the_code_expects(url)


@pytest.mark.slow
def test_migrations_make_them_on_postgresql_too():
    with a_postgres() as url:
        made = Database(url)
        with made.change() as connection:
            fleet.register(connection, ITSELF, "one", Registration(model_id="m", capabilities={"cores": 4}), 1.0)
        with made.look() as connection:
            assert fleet.list_devices(connection)[0]["capabilities"] == {"cores": 4}
            assert fleet.summary(connection, 0.0)["devices"] == 1
        assert_totals_told_twice_count_once(made)
        made.close()
        assert_is_what_the_code_expects(url)


def test_sqlite_syncs_every_commit(database: Database):
    with database.look() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "synchronous")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2}


def test_a_change_that_fails_leaves_nothing(database: Database):
    before = database.revision()

    def fail_in_the_middle() -> None:
        with database.change() as connection:
            fleet.register(connection, ITSELF, "half", Registration(model_id="m"), 1.0)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail_in_the_middle()
    with database.look() as connection:
        assert connection.execute(select(devices)).all() == []
        assert connection.execute(select(audit)).all() == []
    assert database.revision() == before


def test_changes_come_one_after_the_other(database: Database):
    told: list[int] = []
    database.changed = told.append

    def change(thread: int) -> None:
        for number in range(10):
            with database.change() as connection:
                name = f"{thread}-{number}"
                fleet.register(connection, Actor(name, Role.DEVICE), name, Registration(model_id="m"), 1.0)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) == list(range(1, 81))
    with database.look() as connection:
        assert len(fleet.list_devices(connection)) == len(people.read_audit(connection, most=100)) == 80


def test_who_reads_is_not_kept_waiting_by_a_change(database: Database):
    with database.change() as connection:
        fleet.register(connection, ITSELF, "new", Registration(model_id="m"), 1.0)
        with database.look() as reader:
            assert fleet.list_devices(reader) == []


def assert_totals_told_twice_count_once(database: Database) -> None:
    telemetry = Telemetry()
    for frames in (5, 9, 9):
        told = {DIGEST: {"frames": frames, "latency": {"7": frames}}}
        report = Report.model_validate(
            {"run": "r", "model_id": "m", "digest": DIGEST, "counts": told, "refusals": {DIGEST: f"why {frames}"}}
        )
        telemetry.add("one", report, float(frames))
        telemetry.add("two", report, float(frames))
        telemetry.write(database)
    telemetry.write(database)
    with database.look() as connection:
        rows = connection.execute(select(counts).order_by(counts.c.device)).all()
        reasons = set(connection.execute(select(refusals.c.reason)).scalars())
    assert [(row.device, row.counts["frames"], row.latency) for row in rows] == [
        ("one", 9, {"7": 9}),
        ("two", 9, {"7": 9}),
    ]
    assert reasons == {"why 9"}


def test_totals_told_twice_count_once_and_the_newest_report_counts(database: Database):
    assert_totals_told_twice_count_once(database)


@pytest.mark.parametrize("url", ["nonsense", "mysteryql://x", "sqlite:////proc/nowhere/control.db"])
def test_a_database_that_cannot_be_used_is_named(url: str):
    with pytest.raises(DatabaseUnusable):
        Database(url)


def test_a_database_of_a_newer_release_is_left_alone(database: Database, tmp_path: Path):
    with database.telemetry() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnusable, match="another release"):
        Database(f"sqlite:///{tmp_path / 'control.db'}")


def test_the_database_itself_allows_one_running_rollout_of_a_model(database: Database):
    from sqlalchemy.exc import IntegrityError

    from cloud.control.tables import bundles, rollouts

    bundle = {
        "digest": DIGEST, "model_id": "m", "counter": 1, "bytes": 1, "signed": 1, "published_at": 1.0,
        "published_by": "kim",
    }  # fmt: skip
    row = {
        "model_id": "m", "digest": DIGEST, "rules": {}, "stage": "running", "step": 0, "step_since": 1.0,
        "started_at": 1.0, "started_by": "kim", "reason": "", "before": {},
    }  # fmt: skip
    with database.change() as connection:
        connection.execute(insert(bundles).values(**bundle))
        connection.execute(insert(rollouts).values(id="a", **row))
    with pytest.raises(IntegrityError), database.change() as connection:
        connection.execute(insert(rollouts).values(id="b", **row))
