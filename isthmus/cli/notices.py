"""`isthmus notices devices|listen|plan|command`: the devices behind a broker, plans for them, commands to them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from transport.mqtt_controller import MqttController

app = typer.Typer(no_args_is_help=True, help="Devices behind an MQTT broker: what they tell, plans, commands.")

At = Annotated[str, typer.Option("--at", envvar="ISTHMUS_BROKER", help="host:port of the broker.")]
Group = Annotated[str, typer.Option("--group", help="The group that the devices' [notices] name.")]
Name = Annotated[str, typer.Option("--name", help="Yours: the one in your certificate, unlike other controllers'.")]
Tls = Annotated[
    Path | None, typer.Option("--tls", help="Folder of: isthmus enroll device. Needed beyond this machine.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HERE = "127.0.0.1:1883"


class NoticeMisuse(IsthmusError):
    """A command that cannot mean anything."""

    exit_code = 2


@app.command()
def devices(
    at: At = HERE, group: Group = "edge", name: Name = "controller", tls: Tls = None, as_json: AsJson = False
) -> None:
    """List the devices that are connected, and what they can do.

    Example: isthmus notices devices --at broker.local:8883 --tls pki/office --name office
    """

    async def work(controller: MqttController) -> dict[str, Any]:
        return {caller: _read(body) for caller, body in sorted(controller.capabilities.items())}

    found = _controlled(at, group, name, tls, work)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for caller, told in found.items():
        typer.echo(f"{caller:24} {_short(told)}")


@app.command()
def listen(
    at: At = HERE,
    group: Group = "edge",
    name: Name = "controller",
    tls: Tls = None,
    messages: Annotated[int, typer.Option(min=0, help="End after so many; 0 goes on until interrupted.")] = 0,
) -> None:
    """Print what devices tell of themselves, one JSON line for each message.

    Example: isthmus notices listen --at broker.local:8883 --tls pki/office --name office
    """
    import asyncio

    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def work(controller: MqttController) -> None:
        count = 0
        while not messages or count < messages:
            caller, body = await heard.get()
            typer.echo(json.dumps({"device": caller, "told": _read(body)}))
            count += 1

    try:
        _controlled(at, group, name, tls, work, lambda caller, body: heard.put_nowait((caller, body)))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def plan(
    device: Annotated[str, typer.Argument(help="The device's name; it need not be connected.")],
    policy: Annotated[str, typer.Argument(help="JSON of its table [policy]; empty takes the plan back.")] = "",
    at: At = HERE, group: Group = "edge", name: Name = "controller", tls: Tls = None,
) -> None:  # fmt: skip
    """Leave a plan at the broker: the policy that a device is to choose by, now and after each of its starts.

    Example: isthmus notices plan camera-1 '{"name": "fixed", "cut": 3, "level": 2, "route": "edge"}'
    """
    body = json.dumps({"policy": _object(policy)}).encode() if policy else b""
    _controlled(at, group, name, tls, lambda controller: controller.plan(device, body))
    typer.echo(f"{device}: the plan is {'left at the broker' if body else 'taken back'}")


@app.command()
def command(
    device: Annotated[str, typer.Argument(help="The device's name.")],
    what: Annotated[str, typer.Argument(help="status, decision or reload.")],
    at: At = HERE, group: Group = "edge", name: Name = "controller", tls: Tls = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to wait for the reply.")] = 10.0,
) -> None:  # fmt: skip
    """Have a device do something, and print its reply as JSON.

    Example: isthmus notices command camera-1 status
    """
    body = json.dumps({"command": what}).encode()
    reply = _controlled(at, group, name, tls, lambda controller: controller.command(device, body, timeout))
    typer.echo(json.dumps(_read(reply), indent=1))


def _controlled(
    at: str,
    group: str,
    name: str,
    tls: Path | None,
    work: Callable[[MqttController], Awaitable[Any]],
    on_telemetry: Callable[[str, bytes], None] = lambda _caller, _body: None,
) -> Any:
    """What `work` gives, with a controller that is connected."""
    import asyncio

    from runtime.settings import check_settings
    from transport.errors import BrokerUnreachable
    from transport.mqtt_controller import controlling
    from transport.seam import StreamEnded
    from transport.settings import Broker, CallerTls

    shown = None
    if tls is not None:
        shown = CallerTls(ca=tls / "ca.pem", certificate=tls / "device.pem", key=tls / "device.key")
    broker = check_settings(Broker, {"target": at, "group": group, "tls": shown}, origin="--at (target), --group")

    async def run() -> Any:
        try:
            async with controlling(broker, name, on_telemetry) as controller:
                return await work(controller)
        except StreamEnded as exc:
            raise BrokerUnreachable(at, str(exc)) from exc

    return asyncio.run(run())


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoticeMisuse(f"{text[:60]!r} is no JSON object; write it as in: isthmus notices plan --help")
    return found


def _read(body: bytes) -> Any:
    """What a device says, or, where that is no JSON, its bytes as text: it is shown, not acted upon."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body[:200].decode(errors="backslashreplace")


def _short(told: Any) -> str:
    if not isinstance(told, dict):
        return json.dumps(told)
    return " ".join(f"{key}={str(value)[:16]}" for key, value in told.items())
