"""Devices and bundles in the database: each function is part of one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from adaptation.errors import AdaptationError
from adaptation.policies import policy_named
from cloud.control.errors import Conflict, NotAllowed, NotKnown, Unfit
from cloud.control.messages import Desired, Published, Registration, WantedBundle
from cloud.control.people import Actor, note
from cloud.control.rollouts import Stage
from cloud.control.shelf import Shelved
from cloud.control.tables import bundles, canaries, devices, policies, refusals, releases, rollouts, statuses

EVERYONE = "*"
"""Scope of the policy of all devices without one of their own."""


def publish(connection: Connection, actor: Actor, shelved: Shelved, now_s: float) -> bool:
    """Make a bundle known; False if it was already.

    Raises:
        Conflict: another bundle of this model has this counter.
    """
    manifest = shelved.manifest
    if connection.execute(select(bundles.c.digest).where(bundles.c.digest == shelved.digest)).one_or_none():
        return False
    taken = select(bundles.c.digest).where(
        bundles.c.model_id == manifest.model_id, bundles.c.counter == manifest.counter
    )
    other = connection.execute(taken).scalar_one_or_none()
    if other is not None:
        raise Conflict(
            f"{manifest.model_id} has a bundle with counter {manifest.counter} already, {other[:16]}…; release this "
            "one with a larger counter"
        )
    connection.execute(
        insert(bundles).values(
            digest=shelved.digest,
            model_id=manifest.model_id,
            counter=manifest.counter,
            bytes=shelved.size,
            signed=int(shelved.signed),
            accuracy=None if manifest.measured is None else manifest.measured.accuracy,
            published_at=now_s,
            published_by=actor.name,
        )
    )
    facts = {"model_id": manifest.model_id, "counter": manifest.counter, "bytes": shelved.size}
    note(connection, actor, "publish", shelved.digest, facts, now_s)
    return True


def list_bundles(connection: Connection) -> list[Published]:
    """All bundles, the newest first."""
    joined = bundles.outerjoin(releases, bundles.c.digest == releases.c.digest)
    wanted = select(bundles, releases.c.since).select_from(joined).order_by(bundles.c.published_at.desc())
    return [_published(row._mapping) for row in connection.execute(wanted)]


def known_digests(connection: Connection) -> set[str]:
    """Of all bundles."""
    return set(connection.execute(select(bundles.c.digest)).scalars())


def register(connection: Connection, actor: Actor, name: str, told: Registration, now_s: float) -> None:
    """A device says what it is; the first time it becomes known.

    Raises:
        NotAllowed: it has been shut out.
    """
    values = {"state": "active", "model_id": told.model_id, "capabilities": dict(told.capabilities)}
    found = connection.execute(select(devices).where(devices.c.name == name)).one_or_none()
    if found is None:
        connection.execute(insert(devices).values(name=name, registered_at=now_s, **values))
    elif found.state == "shut out":
        raise NotAllowed(f"device {name} has been shut out here; an operator can let it in again")
    elif all(getattr(found, key) == value for key, value in values.items()):
        return
    else:
        connection.execute(update(devices).where(devices.c.name == name).values(**values))
    note(connection, actor, "register", name, {"model_id": told.model_id}, now_s)


def invite(connection: Connection, actor: Actor, name: str, now_s: float) -> None:
    """A device is expected; one that was shut out is let in again."""
    found = connection.execute(select(devices.c.state).where(devices.c.name == name)).scalar_one_or_none()
    if found is None:
        connection.execute(insert(devices).values(name=name, state="invited", capabilities={}, registered_at=now_s))
    elif found == "shut out":
        connection.execute(update(devices).where(devices.c.name == name).values(state="invited"))
    note(connection, actor, "invite", name, {}, now_s)


def shut_out(connection: Connection, actor: Actor, name: str, now_s: float) -> None:
    """Answer a device no more.

    Raises:
        NotKnown: there is no such device.
    """
    if not connection.execute(update(devices).where(devices.c.name == name).values(state="shut out")).rowcount:
        raise _no_device(name)
    note(connection, actor, "shut out", name, {}, now_s)


def is_shut_out(connection: Connection, name: str) -> bool:
    """Whether a device is to be answered no more."""
    found = connection.execute(select(devices.c.state).where(devices.c.name == name)).scalar_one_or_none()
    return found == "shut out"


def set_policy(
    connection: Connection, actor: Actor, device: str | None, policy: Mapping[str, Any] | None, now_s: float
) -> None:
    """What a device, or every device without a policy of its own, is to choose by; None takes the policy away.

    Raises:
        Unfit: no device could take it.
        NotKnown: there is no such device.
    """
    if policy is not None:
        _check_policy(policy)
    if device is not None and connection.execute(select(devices).where(devices.c.name == device)).first() is None:
        raise _no_device(device)
    scope = scope_of(device)
    connection.execute(delete(policies).where(policies.c.scope == scope))
    if policy is not None:
        connection.execute(insert(policies).values(scope=scope, policy=dict(policy), since=now_s))
    note(connection, actor, "set policy", device or "every device", {"policy": policy}, now_s)


def policies_in_force(connection: Connection) -> dict[str, dict[str, Any]]:
    """By scope; see `scope_of`."""
    return {row.scope: row.policy for row in connection.execute(select(policies))}


def scope_of(device: str | None) -> str:
    """Key of a device's policy, or everyone's."""
    return EVERYONE if device is None else f"device:{device}"


def desired(connection: Connection, name: str) -> Desired:
    """What a device is to be like. One that has not registered yet is to be as it is."""
    device = connection.execute(select(devices).where(devices.c.name == name)).one_or_none()
    found = policies_in_force(connection)
    policy = found.get(scope_of(name), found.get(EVERYONE))
    bundle = None if device is None or device.model_id is None else _wanted(connection, name, device.model_id)
    plain = [None if bundle is None else bundle.model_dump(), policy]
    etag = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
    return Desired(etag=etag, bundle=bundle, policy=policy)


def list_devices(connection: Connection, *, after: str = "", most: int = 5000, like: str = "") -> list[dict[str, Any]]:
    """Devices by name, with what each told last; `like` is a part of the name."""
    joined = devices.outerjoin(statuses, devices.c.name == statuses.c.device)
    columns = (devices, statuses.c.seen_at, statuses.c.digest, statuses.c.status)
    wanted = select(*columns).select_from(joined).where(devices.c.name > after).order_by(devices.c.name).limit(most)
    if like:
        wanted = wanted.where(devices.c.name.icontains(like, autoescape=True))
    return [dict(row._mapping) for row in connection.execute(wanted)]


def summary(connection: Connection, since_s: float) -> dict[str, int]:
    """How many devices there are, were heard of since a moment, were not, and have refused a bundle."""
    known = devices.c.state != "shut out"
    joined = devices.join(statuses, devices.c.name == statuses.c.device)
    counted = {
        "devices": select(func.count()).select_from(devices),
        "here": select(func.count()).select_from(joined).where(known, statuses.c.seen_at >= since_s),
        "away": select(func.count()).select_from(joined).where(known, statuses.c.seen_at < since_s),
        "refused": select(func.count(refusals.c.device.distinct())),
    }
    return {name: connection.execute(wanted).scalar_one() for name, wanted in counted.items()}


def one_device(connection: Connection, name: str) -> dict[str, Any]:
    """A device, with what it told last, what it is to be like, and which bundles it refused.

    Raises:
        NotKnown: there is no such device.
    """
    joined = devices.outerjoin(statuses, devices.c.name == statuses.c.device)
    wanted = select(devices, statuses.c.seen_at, statuses.c.digest, statuses.c.status).select_from(joined)
    row = connection.execute(wanted.where(devices.c.name == name)).one_or_none()
    if row is None:
        raise _no_device(name)
    refused = select(refusals.c.digest, refusals.c.reason, refusals.c.at).where(refusals.c.device == name)
    return {
        **row._mapping,
        "desired": desired(connection, name).model_dump(),
        "refused": [dict(one._mapping) for one in connection.execute(refused)],
    }


def devices_of(connection: Connection, model_id: str) -> Sequence[str]:
    """Names of the active devices of a model."""
    wanted = select(devices.c.name).where(devices.c.model_id == model_id, devices.c.state == "active")
    return list(connection.execute(wanted).scalars())


def _wanted(connection: Connection, name: str, model_id: str) -> WantedBundle | None:
    """The bundle on trial for a canary, else the one that was released."""
    trial = (
        select(rollouts.c.digest)
        .join(canaries, canaries.c.rollout == rollouts.c.id)
        .where(rollouts.c.model_id == model_id, rollouts.c.stage == Stage.RUNNING.value, canaries.c.device == name)
    )
    digest = connection.execute(trial).scalar_one_or_none()
    final = digest is None
    if digest is None:
        digest = connection.execute(
            select(releases.c.digest).where(releases.c.model_id == model_id)
        ).scalar_one_or_none()
    if digest is None:
        return None
    row = connection.execute(select(bundles).where(bundles.c.digest == digest)).one()
    return WantedBundle(digest=digest, model_id=model_id, counter=row.counter, bytes=row.bytes, final=final)


def _check_policy(policy: Mapping[str, Any]) -> None:
    parameters = {key: value for key, value in policy.items() if key != "name"}
    try:
        policy_named(str(policy.get("name", "deadline")), parameters)
    except AdaptationError as exc:
        raise Unfit(str(exc)) from exc
    except TypeError as exc:
        raise Unfit(f"this is no policy's table: {exc}; see docs/adaptation.md") from exc


def _published(row: Mapping[Any, Any]) -> Published:
    return Published(
        **{key: row[key] for key in ("digest", "model_id", "counter", "bytes", "accuracy", "published_at")},
        published_by=row["published_by"],
        signed=bool(row["signed"]),
        released=row["since"] is not None,
    )


def _no_device(name: str) -> NotKnown:
    return NotKnown(f"there is no device {name!r} here; isthmus fleet devices lists them")
