"""`python -m benchmarks [NAME] [--json]`, and `--results FILE`, which writes their sections of the page of results."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure, as_object
from protocol.errors import IsthmusError

NAMES: dict[str, str] = {
    "demo": "adaptive against three fixed ways, on the demo's link and on a driving-LTE uplink",
    "rate": "bytes and accuracy of the built-in bundle's cuts beside picture files",
    "rate_fashion": "trained compressors on Fashion-MNIST beside tuned picture codecs, from `make results-codec`",
    "rate_cifar": "the same on CIFAR-10, from `python -m benchmarks.rate_cifar`",
    "rate_levels": "eight levels of one training against eight trainings, from `python -m benchmarks.rate_levels`",
    "wire": "the session machinery against a bare gRPC stream of the same bytes",
    "plan": "seconds to plan a network of 1,000 operators on three tiers",
    "engine": "what cutting costs on the same engine, ONNX Runtime beside eager torch, int8 heads",
    "every_cut": "MobileNetV2 on the photographs, raw payloads at every cut: answers image by image",
    "predictions": "predicted completion time beside the real programs: eight networks, four links",
    "predictor": "ten measured segments rank the others on an engine and threads never seen",
    "live": "real programs over cellular traces: every way, and the simulation of the same; in sittings",
    "policy": "regret of the policies on recorded traces, and what a decision costs",
    "calibrated": "bytes of untrained codecs at five cuts of MobileNetV2",
    "codec": "our entropy coder against CompressAI and constriction on real features",
    "encoder": "what encoders cost a device beside the head, at cuts of networks for 224x224",
    "pipeline": "the device agent: overlap, its own overhead, changes of cut, still scenes",
    "camera": "a fixed camera: what the prefilter and a learned filter save, and what they miss",
    "footprint": "the device agent on disk, in memory, idle, and the start of the command",
    "connections": "what idle, silent and slow peers cost a tier and its good callers",
    "batching": "the tiers' scheduler in simulated time: against static pairs, and batches by cut only",
    "fairness": "the same: one greedy sender, equals with too little, three times too much",
    "utility": "what an edge brings in under the goals latency and utility, and alone, in simulated time",
    "peers": "whole models beside LitServe and Ray Serve, from `python -m benchmarks.peers digits mobilenet`",
    "cluster": "what a call to a worker of a Ray cluster adds to a batch",
    "relay": "what an edge in between adds, and what its own choice of cut and level saves on a thin uplink",
    "datagrams": "frames in QUIC datagrams beside gRPC on a link that loses a tenth of its packets (root)",
    "sizing": "memory and processor time of a tier and of the control plane for so many devices",
    "dashboard": "2,000 devices: a registration storm, first paint, and how soon news are seen (Chromium)",
    "link": "the link emulator's rate and delay against its setting",
    "backends": "seven scenarios on every backend that this machine can play (20 min, idle; in sittings)",
    "kernel_link": "the same transfers on our links and on the kernel's own shaper (root)",
    "fleet": "100,000 devices in simulated time, fifty real ones against their prediction, the library's check",
}
"""Each is a module here with `figures() -> list[Figure]`."""


class UnknownBenchmark(IsthmusError):
    """A name that is no benchmark."""

    exit_code = 2


def figures_of(name: str) -> Sequence[Figure]:
    """Run one benchmark."""
    if name not in NAMES:
        raise UnknownBenchmark(f"there is no benchmark {name!r}; the names are {', '.join(NAMES)}")
    measure: Callable[[], Sequence[Figure]] = import_module(f"benchmarks.{name}").figures
    return measure()


def run_named(name: str, *, as_json: bool) -> None:
    """Run one benchmark, or `all`, or `list` them, and print."""
    if name == "list":
        for known, told in NAMES.items():
            print(f"{known:<12}{told}")
        return
    for one in NAMES if name == "all" else (name,):
        figures = figures_of(one)
        if as_json:
            print(json.dumps(as_object(one, figures)))
        else:
            Console().print(_table(one, figures))


def _row(figure: Figure) -> tuple[str, ...]:
    target = "" if figure.target is None else f"{figure.bound} {figure.target:.4g}"
    holds = "" if figure.holds is None else "yes" if figure.holds else "NO"
    spread = f" ± {figure.spread:.2g}" if figure.runs > 1 else ""
    return figure.name, f"{figure.value:.4g}{spread}", figure.unit, target, holds, figure.against


HEADINGS = ("figure", "measured", "unit", "target", "holds", "against")


def _table(name: str, figures: Sequence[Figure]) -> Table:
    table = Table(*HEADINGS, title=name)
    for figure in figures:
        table.add_row(*_row(figure))
    return table


def write_results(path: Path, name: str) -> None:
    """Run one benchmark, or `all`, and write or replace its section of the page; other sections stay as they are."""
    head = "# Results\n\nWritten by `make results`; each table is `isthmus bench NAME`, one machine, one run.\n"
    for one in NAMES if name == "all" else (name,):
        measured = _section(one)
        # Read only now: another benchmark may have written its own in the meantime.
        found = re.split(r"(?m)^(?=## )", path.read_text())[1:] if path.is_file() else []
        sections = {section[3:].partition(":")[0]: section.rstrip() + "\n" for section in found} | {one: measured}
        known = [sections[key] for key in NAMES if key in sections]
        path.write_text("\n".join([head, *known]))


def _section(name: str) -> str:
    found = as_object(name, figures := figures_of(name))
    machine = ", ".join(f"{key} {value}" for key, value in found["environment"].items())  # type: ignore[attr-defined]
    lines = [f"## {name}: {NAMES[name]}\n", f"`isthmus bench {name} --json`; {machine}.\n"]
    lines += ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(_row(figure)) + " |" for figure in figures]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", default="all")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    if given.results is not None:
        write_results(given.results, given.name)
    else:
        run_named(given.name, as_json=given.json)
