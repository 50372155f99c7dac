"""Errors of evaluation and calibration commands.

IsthmusError            protocol.errors
└── EvaluationError     base (exit code 2)
    ├── BadItems        samples or labels that cannot be read or do not fit the model
    ├── NoOverlap       two curves have no quality in common, so no rate difference exists
    └── NoPromise       too few samples for the stated risk, or no threshold keeps it
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class EvaluationError(IsthmusError):
    """Base of what these modules raise on purpose."""

    exit_code = 2


class BadItems(EvaluationError):
    """Samples or labels that cannot be read or do not fit."""


class NoOverlap(EvaluationError):
    """Two curves reach no common quality."""


class NoPromise(EvaluationError):
    """The samples do not support the stated risk."""
