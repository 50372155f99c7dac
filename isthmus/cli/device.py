"""`isthmus device`: run the agent, check its configuration, or print the schema of it."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.programs import Configuration, Overrides, overrides_of


def device(
    configuration: Configuration = None,
    settings: Overrides = None,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and what it names.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the configuration.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings of --check as JSON.")] = False,
) -> None:
    """Run the device agent: heads on this machine, tails on the tiers. SIGHUP makes it read its configuration again.

    Example: isthmus device camera.toml --set source.rate_hz=5

    Example: isthmus device camera.toml --check
    """
    from device.settings import json_schema, load

    if schema:
        import json

        typer.echo(json.dumps(json_schema(), indent=2))
        return
    overrides = overrides_of(settings)
    if check:
        from isthmus.cli.doctor import report

        report(configuration, overrides, network=False, as_json=as_json)
        return
    import asyncio
    from functools import partial

    from device.logs import set_logs
    from device.notify import notify_of_this_process
    from device.program import run

    read = partial(load, configuration, overrides)
    found = read()
    set_logs(found.log.format, found.log.level)
    asyncio.run(run(found, reread=read, notify=notify_of_this_process()))
