"""Which engine runs the heads, and on which processors: measured once on the machine itself, then remembered."""

from __future__ import annotations
