"""A comparison as published ones are: the rules of Neurosurgeon and SPINN against ours, over recorded cellular links.

    python examples/published_comparison.py [--seconds 60] [TRACE ...]

One device with the built-in model, in simulated time, over Mahimahi's traces (those of ISTHMUS_DATA, or files that you
name). Prints a table and writes comparison.html with confidence intervals. Kang et al., "Neurosurgeon" (ASPLOS 2017);
Laskaridis et al., "SPINN" (MobiCom 2020); Netravali et al., "Mahimahi" (USENIX ATC 2015).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from isthmus.cli.testbed import suppliers
from testbed.backends.named import backend_named
from testbed.results.figures import ALL
from testbed.results.page import write_page
from testbed.running import ScenarioRun, run_scenario
from testbed.scenarios.scenario import Scenario

POLICIES = {"Neurosurgeon's": "neurosurgeon", "SPINN's": "spinn", "ours": "deadline"}
FIGURES = ("deadline_miss_rate", "mean_latency_s", "accuracy", "bytes_per_frame")


def scenario(trace: Path, policy: str, seconds: float) -> Scenario:
    """A camera of ten frames per second that would take 0.2 s for the whole model, with an edge and a cloud."""
    uplink = {"kind": "trace", "path": trace, "delay_s": 0.02}
    device = {"link": "cell", "whole_model_s": 0.2, "deadline_s": 0.25, "policy": {"name": policy}}
    return Scenario.model_validate(
        {"about": f"{policy} over {trace.name}.", "seconds": seconds, "edge": {}, "cloud": {},
         "device": {"camera": device}, "link": {"cell": {"uplink": uplink}}}
    )  # fmt: skip


def compared(traces: list[Path], seconds: float, folder: Path) -> list[ScenarioRun]:
    """Every policy over every trace."""
    runs = []
    for trace in traces:
        for name, policy in POLICIES.items():
            where = folder / f"{trace.name}-{policy}"
            label = f"{name} over {trace.name}"
            played = scenario(trace, policy, seconds)
            runs.append(run_scenario(policy, played, backend_named("simulated"), where, suppliers(), label=label))
            found = runs[-1].repetitions[0].figures[ALL]
            print(f"{label:48}" + "".join(f"{found[figure]:12.4g}" for figure in FIGURES))
    return runs


def main() -> None:
    """Read the arguments, play, print, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--page", type=Path, default=Path("comparison.html"))
    parser.add_argument("traces", nargs="*", type=Path)
    given = parser.parse_args()
    folder = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "traces" / "mahimahi"
    traces = given.traces or sorted(folder.glob("*"))
    if not traces:
        raise SystemExit(f"there are no traces in {folder}; set ISTHMUS_DATA, or name files")
    print(" " * 48 + "".join(f"{figure[:11]:>12}" for figure in FIGURES))
    with tempfile.TemporaryDirectory() as runs:
        write_page(given.page, compared(traces, given.seconds, Path(runs)))
    print(f"Page: {given.page}")


if __name__ == "__main__":
    main()
