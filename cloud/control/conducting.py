"""Rollouts in the database: begun, looked at, widened, completed and taken back, each in one transaction."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from cloud.control.database import Database
from cloud.control.errors import Conflict, NotKnown
from cloud.control.figures import Figures
from cloud.control.fleet import devices_of
from cloud.control.people import ITSELF, Actor, note
from cloud.control.rollouts import Action, Progress, Rules, Seen, Stage, Verdict, canaries, judge
from cloud.control.tables import bundles, counts, refusals, releases, rollouts
from cloud.control.tables import canaries as chosen

_log = logging.getLogger(__name__)


def start(connection: Connection, actor: Actor, digest: str, rules: Rules, now_s: float) -> str:
    """Begin to roll a bundle out; returns the rollout's id. Asked twice, the one that runs is returned.

    Raises:
        NotKnown: there is no such bundle.
        Conflict: another bundle of this model is being rolled out, or this one is not newer than the released one.
    """
    bundle = connection.execute(select(bundles).where(bundles.c.digest == digest)).one_or_none()
    if bundle is None:
        raise NotKnown(f"there is no bundle {digest[:16]}… here; publish it first: isthmus fleet publish")
    running = connection.execute(
        select(rollouts).where(rollouts.c.model_id == bundle.model_id, rollouts.c.stage == Stage.RUNNING.value)
    ).one_or_none()
    if running is not None:
        if running.digest == digest:
            return str(running.id)
        raise Conflict(
            f"rollout {running.id} of {bundle.model_id} is running; wait for its end, or take it back: "
            f"isthmus fleet rollback {running.id}"
        )
    released = _released(connection, bundle.model_id)
    if released is not None and released.counter >= bundle.counter:
        raise Conflict(
            f"{bundle.model_id} is released with counter {released.counter}, and this bundle has {bundle.counter}: "
            "devices would refuse it; release its content anew with a larger counter"
        )
    identity = secrets.token_hex(8)
    canary, baseline = _figures(connection, bundle.model_id, digest)
    connection.execute(delete(refusals).where(refusals.c.digest == digest))
    connection.execute(
        insert(rollouts).values(
            id=identity, model_id=bundle.model_id, digest=digest,
            previous=None if released is None else released.digest, rules=rules.model_dump(mode="json"),
            stage=Stage.RUNNING.value, step=0, step_since=now_s, started_at=now_s, started_by=actor.name,
            reason="begun", before={"canary": _kept(canary), "baseline": _kept(baseline)},
        )
    )  # fmt: skip
    _choose(connection, identity, bundle.model_id, rules.steps[0], now_s)
    note(connection, actor, "start rollout", identity, {"digest": digest, "model_id": bundle.model_id}, now_s)
    return identity


def take_back(connection: Connection, actor: Actor, identity: str, reason: str, now_s: float) -> None:
    """End a running rollout; its canaries go back to what they had.

    Raises:
        NotKnown: there is no such rollout.
        Conflict: it has ended.
    """
    row = one_row(connection, identity)
    if row.stage == Stage.ROLLED_BACK.value:
        return
    if row.stage != Stage.RUNNING.value:
        raise Conflict(
            f"rollout {identity} is complete: devices have noted its counter and would refuse an older bundle; release "
            "the old content anew with a larger counter, and roll that out"
        )
    _end(connection, identity, Stage.ROLLED_BACK, reason, now_s)
    note(connection, actor, "roll back", identity, {"reason": reason}, now_s)


def conduct(database: Database, now_s: float) -> int:
    """Look at every running rollout and do what its figures ask for; returns how many were changed."""
    with database.look() as connection:
        looked = [(row, _verdict(connection, row, now_s)) for row in _running(connection)]
        due = [(row, verdict) for row, verdict in looked if verdict.action is not Action.WAIT]
        news = [(row, verdict) for row, verdict in looked if _is_news(connection, row, verdict)]
    for row, verdict in news:
        with database.change() as connection:
            _apply(connection, str(row.id), now_s)
        _log.info("rollout %s of %s: %s (%s)", row.id, row.model_id, verdict.action, verdict.reason)
    return len(due)


def one_row(connection: Connection, identity: str) -> Row[Any]:
    """A rollout as it is kept.

    Raises:
        NotKnown: there is none.
    """
    row = connection.execute(select(rollouts).where(rollouts.c.id == identity)).one_or_none()
    if row is None:
        raise NotKnown(f"there is no rollout {identity!r}; isthmus fleet rollouts lists them")
    return row


def list_rollouts(connection: Connection, now_s: float, most: int = 100) -> list[dict[str, Any]]:
    """The last ones, the newest first, with their figures."""
    wanted = select(rollouts).order_by(rollouts.c.started_at.desc()).limit(most)
    return [told(connection, row, now_s) for row in connection.execute(wanted).all()]


def running(connection: Connection) -> list[dict[str, Any]]:
    """Those that run, without their figures."""
    return [dict(row._mapping) | {"share": row.rules["steps"][row.step]} for row in _running(connection)]


def told(connection: Connection, row: Row[Any], now_s: float) -> dict[str, Any]:
    """A rollout as people see it; while it runs, with what is thought of it now."""
    seen = _seen(connection, row)
    kept = {key: value for key, value in row._mapping.items() if key != "before"}
    if row.stage == Stage.RUNNING.value:
        kept["reason"] = judge(_progress(row), seen, now_s).reason
    return kept | {
        "share": row.rules["steps"][row.step],
        "canaries": seen.canaries,
        "refused": seen.refused,
        "figures": {"canary": _shown(seen.canary), "baseline": _shown(seen.baseline)},
    }


def _is_news(connection: Connection, row: Row[Any], verdict: Verdict) -> bool:
    """Whether there is something to write: a verdict, or devices that have come since and belong to this step."""
    if verdict.action is not Action.WAIT:
        return True
    share = Rules.model_validate(row.rules).steps[row.step]
    there = set(connection.execute(select(chosen.c.device).where(chosen.c.rollout == row.id)).scalars())
    names = devices_of(connection, row.model_id)
    return len(there & set(names)) < len(canaries(row.id, names, share))


def _apply(connection: Connection, identity: str, now_s: float) -> None:
    """Judge again, now that nobody else changes anything, and carry it out."""
    row = one_row(connection, identity)
    if row.stage != Stage.RUNNING.value:
        return
    verdict, rules = _verdict(connection, row, now_s), Rules.model_validate(row.rules)
    match verdict.action:
        case Action.ROLL_BACK:
            take_back(connection, ITSELF, identity, verdict.reason, now_s)
        case Action.COMPLETE:
            _end(connection, identity, Stage.COMPLETE, verdict.reason, now_s)
            connection.execute(delete(releases).where(releases.c.model_id == row.model_id))
            connection.execute(insert(releases).values(model_id=row.model_id, digest=row.digest, since=now_s))
            note(connection, ITSELF, "complete rollout", identity, {"digest": row.digest}, now_s)
        case Action.ADVANCE:
            step = row.step + 1
            widened = {"step": step, "step_since": now_s, "reason": verdict.reason}
            connection.execute(update(rollouts).where(rollouts.c.id == identity).values(**widened))
            _choose(connection, identity, row.model_id, rules.steps[step], now_s)
            note(connection, ITSELF, "widen rollout", identity, {"share": rules.steps[step]}, now_s)
        case Action.WAIT:
            _choose(connection, identity, row.model_id, rules.steps[row.step], now_s)


def _end(connection: Connection, identity: str, stage: Stage, reason: str, now_s: float) -> None:
    """The figures stay as they were when it was decided."""
    row = one_row(connection, identity)
    canary, baseline = _compared(connection, row)
    before = row.before | {"ended": {"canary": _kept(canary), "baseline": _kept(baseline)}}
    ended = {"stage": stage.value, "ended_at": now_s, "reason": reason, "before": before}
    connection.execute(update(rollouts).where(rollouts.c.id == identity).values(**ended))


def _choose(connection: Connection, identity: str, model_id: str, share: float, now_s: float) -> None:
    """Add the canaries that are missing; nobody who is one ceases to be one."""
    there = set(connection.execute(select(chosen.c.device).where(chosen.c.rollout == identity)).scalars())
    for name in canaries(identity, devices_of(connection, model_id), share):
        if name not in there:
            connection.execute(insert(chosen).values(rollout=identity, device=name, since=now_s))


def _running(connection: Connection) -> Iterable[Row[Any]]:
    return connection.execute(select(rollouts).where(rollouts.c.stage == Stage.RUNNING.value)).all()


def _verdict(connection: Connection, row: Row[Any], now_s: float) -> Verdict:
    return judge(_progress(row), _seen(connection, row), now_s)


def _progress(row: Row[Any]) -> Progress:
    return Progress(Rules.model_validate(row.rules), row.step, row.step_since)


def _seen(connection: Connection, row: Row[Any]) -> Seen:
    canary, baseline = _compared(connection, row)
    names = select(chosen.c.device).where(chosen.c.rollout == row.id)
    refused = (
        select(func.count()).select_from(refusals).where(refusals.c.digest == row.digest, refusals.c.device.in_(names))
    )
    number = select(func.count()).select_from(chosen).where(chosen.c.rollout == row.id)
    promised = select(bundles.c.accuracy).where(bundles.c.digest == row.digest)
    return Seen(
        canary=canary,
        baseline=baseline,
        canaries=connection.execute(number).scalar_one(),
        refused=connection.execute(refused).scalar_one(),
        promised_accuracy=connection.execute(promised).scalar_one(),
    )


def _compared(connection: Connection, row: Row[Any]) -> tuple[Figures, Figures]:
    """The new bundle's figures since the rollout began, and the others' to compare them with."""
    if (ended := row.before.get("ended")) is not None:
        return _unkept(ended["canary"]), _unkept(ended["baseline"])
    canary, baseline = _figures(connection, row.model_id, row.digest)
    meanwhile = baseline - _unkept(row.before["baseline"])
    if meanwhile.frames < row.rules["min_frames"]:  # a fleet of canaries only is compared with what was before
        meanwhile = baseline
    return canary - _unkept(row.before["canary"]), meanwhile


def _figures(connection: Connection, model_id: str, digest: str) -> tuple[Figures, Figures]:
    """All that devices ever counted with this bundle, and with any other of the model."""
    wanted = select(counts.c.digest, counts.c.counts, counts.c.latency).where(counts.c.model_id == model_id)
    sums: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    buckets: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for of, counted, latency in connection.execute(wanted):
        which = int(of != digest)
        _add(sums[which], counted)
        _add(buckets[which], latency)
    canary, baseline = (
        Figures.of(counted, {int(bucket): count for bucket, count in latency.items()})
        for counted, latency in zip(sums, buckets, strict=True)
    )
    return canary, baseline


def _add(total: Counter[str], more: Mapping[str, int]) -> None:
    """There are thousands of rows, so this is a plain loop."""
    for key, number in more.items():
        total[key] += number


def _kept(figures: Figures) -> dict[str, Any]:
    return {"counts": figures.counts(), "latency": figures.buckets()}


def _unkept(kept: dict[str, Any]) -> Figures:
    return Figures.of(kept["counts"], {int(bucket): count for bucket, count in kept["latency"].items()})


def _shown(figures: Figures) -> dict[str, Any]:
    return figures.counts() | {
        "accuracy": figures.accuracy,
        "in_time_share": figures.in_time_share,
        "p50_s": figures.quantile_s(0.5),
        "p95_s": figures.quantile_s(0.95),
    }


def _released(connection: Connection, model_id: str) -> Row[Any] | None:
    joined = bundles.join(releases, releases.c.digest == bundles.c.digest)
    wanted = select(bundles).select_from(joined).where(releases.c.model_id == model_id)
    return connection.execute(wanted).one_or_none()
