"""`isthmus capacity`: how many edges a fleet of devices needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from testbed.fleet.capacity import Capacity


def capacity(
    devices: Annotated[list[int], typer.Option(min=1, help="How many; may be repeated, for several answers.")],
    goal: Annotated[float, typer.Option(help="Seconds within which the frames are to be answered.")] = 0.25,
    percent: Annotated[float, typer.Option(min=1, max=100, help="Of all captured frames.")] = 99.0,
    rate: Annotated[float, typer.Option(help="Frames per second of each device.")] = 1.0,
    run: Annotated[
        Path | None, typer.Option(help="A scenario's run to take device times, bytes and tier times from.")
    ] = None,
    device_s: Annotated[float, typer.Option(help="Seconds on the device for a frame; without --run.")] = 0.05,
    message_bytes: Annotated[float, typer.Option("--bytes", help="Of a frame's message; without --run.")] = 2000.0,
    first: Annotated[float, typer.Option(help="Seconds that a tier takes for each batch.")] = 0.0,
    each: Annotated[float | None, typer.Option(help="And for each frame in it; 0.005, or what --run says.")] = None,
    most: Annotated[int, typer.Option(min=1, max=1024, help="Frames in one batch.")] = 16,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Batches that an edge does at the same time.")] = 1,
    cell_devices: Annotated[int, typer.Option(min=1, help="Devices that share a cell.")] = 50,
    cell_bps: Annotated[float, typer.Option(help="Bit/s of a cell's uplink.")] = 20e6,
    one_way: Annotated[float, typer.Option(help="Seconds of propagation, each way.")] = 0.015,
    seconds: Annotated[float, typer.Option(help="Simulated and counted.")] = 10.0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Let the tiers' own scheduler decide on every frame; slow, on all cores.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2,...", help="Values of a fleet's setting, such as rate_hz; several are crossed."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help='Spread several over the Ray cluster at this address ("auto": of this machine).'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, nothing else.")] = False,
) -> None:
    """Say how many edges answer that many devices in time, by simulating the fleet.

    Examples:

      isthmus capacity --devices 50000 --goal 0.25

      isthmus capacity --devices 2000 --rate 10 --run runs/testbed/elevator-1

      isthmus capacity --devices 10000 --devices 50000 --devices 100000

      isthmus capacity --devices 20000 --over rate_hz=1,2,5 --over cell_bps=1e7,2e7
    """
    from functools import partial

    from testbed.fleet.capacity import edges_needed
    from testbed.fleet.points import at_each
    from testbed.fleet.settings import Fleet, samples_of
    from testbed.fleet.sweep import crossed

    samples, tier_s = (((device_s, message_bytes),), 0.005) if run is None else samples_of(run)
    fleets = [
        Fleet(
            devices=count, rate_hz=rate, deadline_s=goal, samples=samples, cell_devices=cell_devices, cell_bps=cell_bps,
            one_way_s=one_way, workers=workers, first_s=first, each_s=tier_s if each is None else each, most=most,
            exact=exact, seconds=seconds, seed=seed,
        )
        for count in devices
    ]  # fmt: skip
    points = [point for fleet in fleets for point in crossed(fleet, over or ())]
    needed = at_each(partial(edges_needed, goal_s=goal, percent=percent), [fleet for _, fleet in points], ray=ray)
    found = [{**values, **_told(one, goal)} for (values, _), one in zip(points, needed, strict=True)]
    if as_json:
        typer.echo(json.dumps(found[0] if len(found) == 1 else {"points": found}))
        return
    for (values, _), told in zip(points, found, strict=True):
        at = "".join(f"{key}={value:g}, " for key, value in values.items())
        typer.echo(
            f"{at}{told['edges']} edges for {told['devices']:,} devices: {percent:g} % of the frames within "
            f"{goal * 1e3:g} ms (half of them within {told['p50_s'] * 1e3:.0f} ms), workers busy for "
            f"{told['busy']:.0%} of the time, {told['frames_per_batch']:.1f} frames per batch"
        )


def _told(found: Capacity, goal_s: float) -> dict[str, float]:
    return {
        "devices": found.fleet.devices,
        "edges": found.fleet.edges,
        "p50_s": found.served.percentile_s(50),
        "p99_s": found.served.percentile_s(99),
        "missed": found.served.missed(goal_s),
        "busy": found.served.busy,
        "frames_per_batch": found.served.frames_per_batch,
    }
