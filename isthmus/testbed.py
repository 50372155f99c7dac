"""What notebooks need of the testbed: `isthmus.testbed.load(run)` gives the tables of a run as data frames."""

from __future__ import annotations

from testbed import Run, load

__all__ = ["Run", "load"]
