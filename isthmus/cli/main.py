"""Entry point of the command `isthmus`: names the commands, turns errors into one sentence and an exit code."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from isthmus.cli.lazy import LazyGroup, Listed
from protocol.errors import IsthmusError

COMMANDS = {
    "device": Listed("isthmus.cli.device:device", "Run the device agent: heads here, tails on the tiers."),
    "doctor": Listed("isthmus.cli.doctor:doctor", "Say why an agent does not work, with the fix."),
    "top": Listed("isthmus.cli.top:top", "Show a running agent."),
    "edge": Listed("isthmus.cli.programs:edge", "Run an edge tier: answers near the devices, or passes features up."),
    "cloud": Listed("isthmus.cli.programs:cloud", "Run a cloud tier: the end of the chain."),
    "control": Listed("isthmus.cli.control:control", "Run the control plane of a fleet."),
    "fleet": Listed("isthmus.cli.fleet:app", "Bundles, devices, rollouts and policies of a fleet."),
    "bundle": Listed("isthmus.cli.bundle:app", "Look into a bundle or check it."),
    "testbed": Listed("isthmus.cli.testbed:app", "Play a scenario of links and faults against the platform."),
    "record": Listed("isthmus.cli.record:record", "Turn a device's history into a scenario that replays its link."),
    "sign": Listed("isthmus.cli.sign:app", "Make a key, and sign bundles with it."),
    "enroll": Listed("isthmus.cli.enroll:app", "Certificates for tiers, and for devices by one-time token."),
    "notices": Listed("isthmus.cli.notices:app", "Devices behind an MQTT broker: what they tell, plans, commands."),
    "train": Listed("isthmus.cli.train:app", "Train a model's compressors and write its bundle."),
    "filter": Listed("isthmus.cli.filter:filter_", "Teach a device to see that there is nothing to see."),
    "demo": Listed("isthmus.cli.demo:demo", "Play a moving link against the real programs, and write a report."),
    "bench": Listed("isthmus.cli.bench:bench", "Measure this machine against the figures the project promises."),
    "capacity": Listed("isthmus.cli.capacity:capacity", "Say how many edges answer a fleet of devices in time."),
    "explain": Listed("isthmus.cli.explain:app", "Say why a frame went its way, or a tier's batches."),
    "conformance": Listed("isthmus.cli.conformance:conformance", "Put a server to the cases of the protocol OIP v2."),
    "evaluate": Listed("isthmus.cli.evaluate:evaluate", "Bytes and answers of every level beside picture files."),
    "cuts": Listed("isthmus.cli.cuts:cuts", "List every place where a model can be cut."),
    "profile": Listed("isthmus.cli.profile:profile", "Time every part of bundles on this machine."),
    "plan": Listed("isthmus.cli.plan:plan", "Find the best cut for a device, a link and a goal."),
    "export": Listed("isthmus.cli.export:export", "Write a model as a bundle, cut where asked."),
    "inspect": Listed("isthmus.cli.inspect:inspect", "Draw a model, its cuts and its plan as one HTML page."),
}  # fmt: skip
"""The whole tree: one line for each command."""

EXIT_CODES = (
    "Exit codes: 0 done, 1 internal error, 2 configuration, 3 bundle, 4 address, 5 tier unreachable, "
    "6 trace, 130 interrupted."
)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Commands(LazyGroup):
    """The command `isthmus`."""

    listed = COMMANDS


app = typer.Typer(
    name="isthmus",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Split and edge-cloud inference: cut a trained model, compress the cut, stream it, adapt per frame.",
)


@app.callback(epilog=f"Start with: isthmus demo\n\n{EXIT_CODES}")
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
) -> None:
    import logging

    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits the process."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(given)
    except IsthmusError as error:
        if "--debug" in given:
            raise
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # of a file that was named to a command; programs have sentences of their own for theirs
        if "--debug" in given or not (error.filename or error.errno in _FULL):
            raise
        told = f"{error.filename!r} cannot be used" if error.filename else "not everything could be written"
        print(f"isthmus: {told}: {error.strerror}; name another path", file=sys.stderr)
        sys.exit(2)
