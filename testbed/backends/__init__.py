"""Where a scenario is played: one seam, `Backend`, and what came of it, `Outcome`. One backend, one file."""

from __future__ import annotations
