"""Emulated links, faults, scenarios and reports around the real programs. No program that ships imports it.

`testbed.load(folder)` reads the run of a scenario as data frames.
"""

from testbed.results.load import Run, load

__all__ = ["Run", "load"]
