"""Errors of the adaptation room.

    IsthmusError
    └── AdaptationError          a value or a name that cannot be worked with
        ├── InvalidValue         a plan, goal or setting outside its range (our caller's mistake)
        └── UnknownPolicy        no policy of that name, or a parameter it does not have (a setting to correct)

Bad links and dead tiers are no errors here: they are what the estimate and the decision describe.
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class AdaptationError(IsthmusError):
    """Ancestor of every error of this room."""

    exit_code = 2


class InvalidValue(AdaptationError):
    """A value outside its range; the message names it, its value and the range."""


class UnknownPolicy(AdaptationError):
    """No policy has this name, or it has no such parameter; the message names the nearest valid one."""
