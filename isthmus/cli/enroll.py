"""`isthmus enroll authority|token|serve|device|rules`: certificates for tiers and devices, and rules for a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.outputs import file_to_write

app = typer.Typer(no_args_is_help=True, help="Certificates for tiers, and for devices by one-time token.")

Folder = Annotated[Path, typer.Argument(help="Folder of the authority.", show_default=False)]


@app.command()
def authority(
    folder: Folder,
    host: Annotated[list[str], typer.Option(help="Name or address under which the tier is reached; repeatable.")],
    name: Annotated[str, typer.Option(help="The tier's name.")] = "tier",
) -> None:
    """Make an authority (once), and a certificate for a tier: NAME.key and NAME.pem beside ca.pem.

    Example: isthmus enroll authority pki --host edge.local --host 192.0.2.7 --name edge
    """
    from transport.authority import Authority, write_secret
    from transport.errors import AuthorityUnusable

    made = Authority(folder) if (folder / "ca.pem").exists() else Authority.create(folder)
    key, certificate = made.tier(name, host)
    try:
        write_secret(folder / f"{name}.key", key)
        (folder / f"{name}.pem").write_bytes(certificate)
    except OSError as exc:
        raise AuthorityUnusable(str(folder), f"{name}.key: {exc.strerror}") from exc
    typer.echo(
        f"[listen.tls]\ncertificate = {str(folder / f'{name}.pem')!r}\nkey = {str(folder / f'{name}.key')!r}\n"
        f"client_ca = {str(folder / 'ca.pem')!r}"
    )


@app.command()
def token(
    folder: Folder,
    device: Annotated[str, typer.Argument(help="The device's name, which its certificate will carry.")],
    tier: Annotated[str, typer.Option(help="host:port of: isthmus enroll serve.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=file_to_write, help="File to write; hand it to the device.")
    ] = Path("token.json"),
    hours: Annotated[float, typer.Option(help="How long it may be used.", min=0.01, max=24 * 365)] = 24.0,
) -> None:
    """Make a token that lets one device enrol once.

    Example: isthmus enroll token pki camera-1 --tier edge.local:7299
    """
    from transport.address import Address
    from transport.authority import Authority
    from transport.enrolment import make_token, write_token

    try:
        Address.read(tier)
    except ValueError as exc:
        raise typer.BadParameter(f"{tier!r} cannot be used: {exc}", param_hint="--tier") from exc
    write_token(make_token(Authority(folder), device, tier, hours), output)
    typer.echo(f"{output}: lets {device} enrol once at {tier}, within {hours:g} hours")


@app.command()
def serve(
    folder: Folder,
    reached_as: Annotated[list[str], typer.Option(help="Name or address in the tokens' --tier; repeatable.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks one.", min=0, max=65535)] = 7299,
) -> None:
    """Let devices with tokens enrol, until interrupted.

    Example: isthmus enroll serve pki --reached-as edge.local --host 0.0.0.0
    """
    import asyncio
    import signal

    from transport.authority import Authority
    from transport.enrolment import EnrolmentServer

    async def run() -> int:
        server = EnrolmentServer(Authority(folder), host, reached_as, port)
        await server.start()
        ended: asyncio.Queue[int] = asyncio.Queue()
        for number in (signal.SIGINT, signal.SIGTERM):  # by the loop: it wakes for them whenever they come
            asyncio.get_running_loop().add_signal_handler(number, ended.put_nowait, number)
        typer.echo(f'{{"event": "ready", "port": {server.port}}}')
        try:
            return 130 if await ended.get() == signal.SIGINT else 0
        finally:
            await server.stop()

    raise typer.Exit(asyncio.run(run()))


@app.command()
def device(
    token: Annotated[Path, typer.Argument(help="The token's file.")],
    folder: Annotated[Path, typer.Argument(help="Where device.key, device.pem and ca.pem go.")],
) -> None:
    """Enrol this device: make a key here, and have it certified.

    Example: isthmus enroll device token.json /var/lib/isthmus
    """
    import asyncio

    from transport.enrolment import Token, enrol

    asyncio.run(enrol(Token.read(token), folder))
    typer.echo(
        f"[edge.tls]\nca = {str(folder / 'ca.pem')!r}\ncertificate = {str(folder / 'device.pem')!r}\n"
        f"key = {str(folder / 'device.key')!r}"
    )


@app.command()
def rules(
    group: Annotated[str, typer.Option(help="The group that the workers share frames in.")] = "edge",
    worker: Annotated[list[str] | None, typer.Option(help="Name of a tier and its certificate; repeatable.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Name of a device and its certificate; repeatable.")] = None,
    controller: Annotated[
        list[str] | None, typer.Option(help="Name of one who plans and commands, and its certificate; repeatable.")
    ] = None,
) -> None:
    """Print what each may do at an MQTT broker, as mosquitto's acl_file has it: everything else is forbidden.

    Example: isthmus enroll rules --worker edge --device camera-1 --controller office > /etc/mosquitto/acl
    """
    from protocol.errors import LocalProtocolError
    from protocol.topics import rules_of_caller, rules_of_controller, rules_of_worker
    from transport.errors import NameUnusable

    kinds = ((worker, rules_of_worker), (device, rules_of_caller), (controller, rules_of_controller))
    try:
        held = [(name, list(rules_of(group, name))) for names, rules_of in kinds for name in names or ()]
    except LocalProtocolError as exc:
        raise NameUnusable(str(exc)) from exc
    for name, rules in held:
        typer.echo("\n".join([f"user {name}", *(f"topic {access} {topic}" for access, topic in rules), ""]))
