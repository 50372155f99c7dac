"""The backend of simulated time: what of a scenario it plays, in the terms of `testbed.simulation`."""

from __future__ import annotations
