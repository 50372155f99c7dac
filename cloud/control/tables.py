"""The tables, for SQLite and PostgreSQL alike. Migrations make them; docs/fleet.md says what each holds."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")

state = Table(
    "state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""One row: how many changes there have been. Each change takes its lock first, so changes come one after the other."""

bundles = Table(
    "bundles",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("model_id", String(64), nullable=False, index=True),
    Column("counter", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("signed", Integer, nullable=False),
    Column("accuracy", Float),
    Column("published_at", Float, nullable=False),
    Column("published_by", String(64), nullable=False),
    UniqueConstraint("model_id", "counter", name="one_bundle_of_each_counter"),
)

releases = Table(
    "releases",
    metadata,
    Column("model_id", String(64), primary_key=True),
    Column("digest", String(64), ForeignKey("bundles.digest"), nullable=False),
    Column("since", Float, nullable=False),
)
"""What every device of a model is to run: the bundle of the last complete rollout."""

devices = Table(
    "devices",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("model_id", String(64), index=True),
    Column("capabilities", JSON, nullable=False),
    Column("registered_at", Float, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("scope", String(66), primary_key=True),
    Column("policy", JSON, nullable=False),
    Column("since", Float, nullable=False),
)
"""Scope `*` is every device without a policy of its own, `device:NAME` one device."""

statuses = Table(
    "statuses",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("seen_at", Float, nullable=False),
    Column("digest", String(64)),
    Column("status", JSON, nullable=False),
)
"""What each device told last."""

counts = Table(
    "counts",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("run", String(64), primary_key=True),
    Column("model_id", String(64), nullable=False, index=True),
    Column("counts", JSON, nullable=False),
    Column("latency", JSON, nullable=False),
)
"""Each device's counts of each run with each bundle; they only grow, so one told twice counts once."""

refusals = Table(
    "refusals",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model_id", String(64), nullable=False),
    Column("digest", String(64), ForeignKey("bundles.digest"), nullable=False),
    Column("previous", String(64)),
    Column("rules", JSON, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_since", Float, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("started_by", String(64), nullable=False),
    Column("ended_at", Float),
    Column("reason", Text, nullable=False),
    Column("before", JSON, nullable=False),
    Index("rollouts_by_start", "started_at"),
    Index(
        "one_running_rollout_of_a_model",
        "model_id",
        unique=True,
        sqlite_where=text("stage = 'running'"),
        postgresql_where=text("stage = 'running'"),
    ),
)

canaries = Table(
    "canaries",
    metadata,
    Column("rollout", String(32), ForeignKey("rollouts.id"), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("since", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(32), nullable=False),
    Column("object", String(128), nullable=False),
    Column("details", JSON, nullable=False),
    Index("audit_by_object", "object"),
)
"""One row for each change, written in its transaction."""
