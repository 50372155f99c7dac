"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make all tables; written out, so that a later change of `tables.py` does not change this step."""
    state = op.create_table(
        "state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"id": 1, "revision": 0}])
    _bundles()
    _devices()
    _rollouts()
    _people()


def _bundles() -> None:
    op.create_table(
        "bundles",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("model_id", sa.String(64), nullable=False),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("signed", sa.Integer, nullable=False),
        sa.Column("accuracy", sa.Float),
        sa.Column("published_at", sa.Float, nullable=False),
        sa.Column("published_by", sa.String(64), nullable=False),
        sa.UniqueConstraint("model_id", "counter", name="one_bundle_of_each_counter"),
    )
    op.create_index("ix_bundles_model_id", "bundles", ["model_id"])
    op.create_table(
        "releases",
        sa.Column("model_id", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), sa.ForeignKey("bundles.digest"), nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("model_id", sa.String(64)),
        sa.Column("capabilities", sa.JSON, nullable=False),
        sa.Column("registered_at", sa.Float, nullable=False),
    )
    op.create_index("ix_devices_model_id", "devices", ["model_id"])
    op.create_table(
        "policies",
        sa.Column("scope", sa.String(66), primary_key=True),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )
    op.create_table(
        "statuses",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("status", sa.JSON, nullable=False),
    )
    op.create_table(
        "counts",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("model_id", sa.String(64), nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("latency", sa.JSON, nullable=False),
    )
    op.create_index("ix_counts_model_id", "counts", ["model_id"])
    op.create_table(
        "refusals",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("model_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), sa.ForeignKey("bundles.digest"), nullable=False),
        sa.Column("previous", sa.String(64)),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("step_since", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("started_by", sa.String(64), nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
    )
    op.create_index("rollouts_by_start", "rollouts", ["started_at"])
    running = sa.text("stage = 'running'")
    op.create_index(
        "one_running_rollout_of_a_model",
        "rollouts",
        ["model_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_table(
        "canaries",
        sa.Column("rollout", sa.String(32), sa.ForeignKey("rollouts.id"), primary_key=True),
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
    )


def _people() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
    )
    op.create_table(
        "audit",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("object", sa.String(128), nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
    )
    op.create_index("audit_by_object", "audit", ["object"])
