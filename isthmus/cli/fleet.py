"""`isthmus fleet ...`: ask a control plane, and tell it what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.outputs import file_to_write
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from cloud.control.client import Client

app = typer.Typer(no_args_is_help=True, help="Bundles, devices, rollouts and policies of a fleet (isthmus control).")

At = Annotated[str, typer.Option("--at", envvar="ISTHMUS_CONTROL", help="URL of the control plane.")]
Token = Annotated[
    Path, typer.Option("--token", envvar="ISTHMUS_TOKEN_FILE", help="File with your token.", show_default=True)
]
Authority = Annotated[
    Path | None, typer.Option("--ca", envvar="ISTHMUS_CONTROL_CA", help="Authority of the control plane (PEM).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HERE, TOKEN = "http://127.0.0.1:7300", Path("control.token")


class FleetMisuse(IsthmusError):
    """A command that cannot mean anything."""

    exit_code = 2


@contextmanager
def asked(at: str, token: Path, authority: Path | None) -> Iterator[Client]:
    """A client with the token of a file."""
    from cloud.control.client import Client

    try:
        secret = token.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise FleetMisuse(
            f"no token can be read from {str(token)!r}; write one there (isthmus control --admin NAME) or name another "
            "file with --token"
        ) from exc
    client = Client(at, secret, authority)
    try:
        yield client
    finally:
        client.close()


@app.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Folder or zip of a signed bundle.", exists=True)],
    at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Verify a bundle, send it, and have it verified and kept there. It goes to no device yet.

    Example: isthmus fleet publish my.bundle
    """
    import tempfile

    from runtime.bundle import pack

    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder, asked(at, token, ca) as client:
        archive = bundle
        if bundle.is_dir():
            archive = Path(folder) / "bundle.zip"
            pack(bundle, archive)
        found = client.publish(archive)
    _tell(found, as_json, f"{found['model_id']} counter {found['counter']}: published as {found['digest']}")


@app.command()
def bundles(at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False) -> None:
    """List the published bundles, the newest first.

    Example: isthmus fleet bundles
    """
    with asked(at, token, ca) as client:
        found = client.get("/v1/bundles")
    columns = ("digest", "model_id", "counter", "bytes", "signed", "released", "published_by")
    _table(found, columns, as_json)


@app.command()
def devices(at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False) -> None:
    """List the devices, with the seconds since each was heard of.

    Example: isthmus fleet devices
    """
    import time

    with asked(at, token, ca) as client:
        found = client.get("/v1/devices")
    now_s = time.time()
    for one in found:
        one["seen_s_ago"] = None if one["seen_at"] is None else round(now_s - one["seen_at"], 1)
    _table(found, ("name", "state", "model_id", "digest", "seen_s_ago"), as_json)


@app.command()
def device(
    name: Annotated[str, typer.Argument(help="The device's name.")],
    at: At = HERE, token: Token = TOKEN, ca: Authority = None,
) -> None:  # fmt: skip
    """Show all that is known of a device, as JSON.

    Example: isthmus fleet device camera-1
    """
    with asked(at, token, ca) as client:
        typer.echo(json.dumps(client.get(f"/v1/devices/{name}"), indent=1))


@app.command()
def rollout(
    digest: Annotated[str, typer.Argument(help="Digest of a published bundle, or enough of its beginning.")],
    rules: Annotated[
        Path | None, typer.Option(help="TOML file of rules: steps, min_frames, ... (docs/fleet.md).")
    ] = None,
    at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Begin to roll a bundle out, step by step; bad figures of the first devices take it back.

    Example: isthmus fleet rollout 3f9a01c2 --rules careful.toml
    """
    wanted = {} if rules is None else _toml(rules)
    with asked(at, token, ca) as client:
        whole = [one["digest"] for one in client.get("/v1/bundles") if one["digest"].startswith(digest)]
        if len(whole) != 1:
            raise FleetMisuse(f"{digest!r} begins {len(whole)} digests; isthmus fleet bundles lists them")
        found = client.post("/v1/rollouts", {"digest": whole[0], "rules": wanted})
    _tell(found, as_json, f"rollout {found['id']} has begun; watch it: isthmus fleet rollouts")


@app.command()
def rollouts(at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False) -> None:
    """List the rollouts, the newest first.

    Example: isthmus fleet rollouts --json
    """
    with asked(at, token, ca) as client:
        found = client.get("/v1/rollouts")
    _table(found, ("id", "model_id", "digest", "stage", "share", "canaries", "refused", "reason"), as_json)


@app.command()
def rollback(
    rollout: Annotated[str, typer.Argument(help="A rollout's id.")],
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "an operator took it back",
    at: At = HERE, token: Token = TOKEN, ca: Authority = None,
) -> None:  # fmt: skip
    """Take a running rollout back: its devices return to what they had.

    Example: isthmus fleet rollback 5c1f09aa77b0e412 --reason "complaints from shop 7"
    """
    with asked(at, token, ca) as client:
        client.post(f"/v1/rollouts/{rollout}/rollback", {"reason": reason})
    typer.echo(f"rollout {rollout} is taken back")


@app.command()
def policy(
    table: Annotated[
        Path | None, typer.Argument(help="TOML file with the keys of [policy]; without it, back to their own.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="One device; without it, all that have none of their own.")] = None,
    at: At = HERE, token: Token = TOKEN, ca: Authority = None,
) -> None:  # fmt: skip
    """Change what devices choose cut, level and tier by, while they run.

    Example: isthmus fleet policy night.toml --device camera-1
    """
    wanted = None if table is None else _toml(table)
    with asked(at, token, ca) as client:
        client.put("/v1/policy" if device is None else f"/v1/devices/{device}/policy", {"policy": wanted})
    typer.echo(f"{device or 'every device'}: {'its own policy' if wanted is None else 'a new policy'}")


@app.command()
def enroll(
    name: Annotated[str, typer.Argument(help="The device's name, which its certificate will carry.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=file_to_write, help="File for the token; hand it to the device.")
    ] = Path("token.json"),
    hours: Annotated[float, typer.Option(help="How long it may be used.", min=0.01, max=24 * 365)] = 24.0,
    at: At = HERE, token: Token = TOKEN, ca: Authority = None,
) -> None:  # fmt: skip
    """Expect a device; where the control plane has an authority, write its token (then: isthmus enroll device).

    Example: isthmus fleet enroll camera-1 --output camera-1.json
    """
    from transport.enrolment import Token as DeviceToken
    from transport.enrolment import write_token

    with asked(at, token, ca) as client:
        found = client.post("/v1/invitations", {"name": name, "hours": hours})
    if found["token"] is None:
        typer.echo(f"{name} is expected; its certificate comes from elsewhere: there is no [enrolment] here")
        return
    write_token(DeviceToken.model_validate(found["token"]), output)
    typer.echo(f"{output}: lets {name} enrol once, within {hours:g} hours")


@app.command("shut-out")
def shut_out(
    name: Annotated[str, typer.Argument(help="The device's name.")],
    at: At = HERE, token: Token = TOKEN, ca: Authority = None,
) -> None:  # fmt: skip
    """Answer a device no more; `isthmus fleet enroll` lets it in again.

    Example: isthmus fleet shut-out camera-1
    """
    with asked(at, token, ca) as client:
        client.post(f"/v1/devices/{name}/shut-out", {})
    typer.echo(f"{name} is shut out here; add it to listen.tls.revoked of the tiers as well")


@app.command("token")
def make_token(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "viewer",
    at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a token for a person or a program; it is shown this once.

    Example: isthmus fleet token kim --role operator
    """
    with asked(at, token, ca) as client:
        found = client.post("/v1/tokens", {"name": name, "role": role})
    _tell(found, as_json, found["token"])


@app.command()
def tokens(at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets.

    Example: isthmus fleet tokens
    """
    with asked(at, token, ca) as client:
        found = client.get("/v1/tokens")
    _table(found, ("id", "name", "role", "created_at", "revoked_at"), as_json)


@app.command()
def revoke(
    identity: Annotated[str, typer.Argument(help="A token's id.")],
    at: At = HERE, token: Token = TOKEN, ca: Authority = None,
) -> None:  # fmt: skip
    """Revoke a token: whoever shows it is refused from now on.

    Example: isthmus fleet revoke 1f2e3d4c
    """
    with asked(at, token, ca) as client:
        client.delete(f"/v1/tokens/{identity}")
    typer.echo(f"token {identity} is good no more")


@app.command()
def audit(
    most: Annotated[int, typer.Option(min=1, max=1000, help="Entries.")] = 50,
    at: At = HERE, token: Token = TOKEN, ca: Authority = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show who changed what, the newest first.

    Example: isthmus fleet audit --most 20
    """
    with asked(at, token, ca) as client:
        found = client.get("/v1/audit", most=most)
    _table(found, ("at", "who", "role", "action", "object", "details"), as_json)


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise FleetMisuse(f"{str(path)!r} cannot be read as TOML: {exc}; correct it, or name another file") from exc


def _tell(found: Any, as_json: bool, sentence: str) -> None:
    typer.echo(json.dumps(found) if as_json else sentence)


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for name in columns:
        table.add_column(name, no_wrap=name in ("digest", "id", "at"))
    for row in rows:
        table.add_row(*(Text(_cell(name, row[name])) for name in columns))
    Console().print(table if rows else "nothing yet")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "digest":
        return str(value)[:16]
    if name == "at" or name.endswith("_at"):
        from datetime import UTC, datetime

        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return "yes" if value is True else "no" if value is False else str(value)
