"""Errors of the partitioner. Every message says what happened, why, and what to do.

IsthmusError                    protocol.errors
└── PartitionError              base of this room (exit code 2)
    ├── ModelInTrainingMode     call model.eval() first
    ├── UnsupportedModel        parameters on several devices, mutated buffers, non-tensor inputs or outputs
    ├── ExampleRejected         the model itself fails on the example, or answers with NaN
    ├── NotExportable           the graph cannot be captured or written as ONNX; names operator and line
    ├── UnknownCut              no module of that name, or no single tensor crosses behind it
    ├── NoCut                   nothing to cut, or a policy that selected nothing
    ├── TooManyCuts             more cuts than a bundle holds
    ├── ExportMismatch          the exported segments do not compute what the model computes (exit code 1)
    ├── InvalidSetting          a network, tiers and links that no plan can be made from
    ├── NoFeasiblePlan          no enumerated cut keeps all budgets; names the budget that rules out the last one
    ├── ProfileUnusable         a machine's profile that cannot be read, or lacks what a plan needs
    ├── UnknownMetric           no metric of that name
    ├── NotQuantisable          a bundle or samples that no int8 or float16 head can be made from
    ├── InvalidManifest         a name, level or figure that a manifest cannot hold
    └── BundleExists            there is something at the path already
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from protocol.errors import IsthmusError


class PartitionError(IsthmusError):
    """Base of everything that this room raises on purpose."""

    exit_code = 2


class ModelInTrainingMode(PartitionError):
    """The model, or one module inside it, is in training mode."""

    def __init__(self, module: str) -> None:
        where = f"its module {module!r}" if module else "the model"
        super().__init__(
            f"{where} is in training mode, so dropout and batch statistics would be frozen into the bundle; "
            "call model.eval() before partitioning"
        )
        self.module = module


class UnsupportedModel(PartitionError):
    """The model does something that a bundle cannot hold. The message names it and the way round."""


class ExampleRejected(PartitionError):
    """The model does not run on the example input, or its answer holds NaN. Pass an example that it accepts."""


class NotExportable(PartitionError):
    """`torch.export` or the ONNX exporter cannot express the model.

    Attributes:
        operator: the operator at fault, "" where it is not known.
        line: "file:line" in the model's own code, "" where it is not known.
    """

    def __init__(self, what: str, fix: str, *, operator: str = "", line: str = "") -> None:
        at = f" at {line}" if line else ""
        by = f" (operator {operator})" if operator else ""
        super().__init__(f"{what}{by}{at}; {fix}")
        self.operator = operator
        self.line = line


class UnknownCut(PartitionError):
    """There is no single-tensor cut of that name.

    Attributes:
        name: what was asked for.
        suggestions: the nearest names that exist, best first.
    """

    def __init__(self, name: str, known: Iterable[str], *, reason: str) -> None:
        self.name = name
        self.suggestions = tuple(difflib.get_close_matches(name, list(known), n=3, cutoff=0.4))
        nearest = ", ".join(repr(suggestion) for suggestion in self.suggestions)
        fix = f"did you mean {nearest}?" if nearest else "print(partition.cuts) lists the names that exist"
        super().__init__(f"cannot cut after {name!r}: {reason}; {fix}")


class NoCut(PartitionError):
    """No cut is left to make. The message says whether the model or the selection is the reason."""


class TooManyCuts(PartitionError):
    """More cuts were selected than a bundle holds."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} cuts were selected and a bundle holds {limit}; name the ones you need: cuts=[...]")


class ExportMismatch(PartitionError):
    """The exported segments do not compute what the model computes. Nothing was written.

    Attributes:
        where: name of the first cut (or "output") that differs.
        difference: largest absolute difference, relative to the range of the model's own values there.
    """

    exit_code = 1

    def __init__(self, where: str, difference: float, tolerance: float) -> None:
        super().__init__(
            f"the exported segments differ from the model at {where!r} by {difference:.3g} of the range, more than "
            f"{tolerance:.3g}, so no bundle was written; leave that cut out, and report the operators in front of it"
        )
        self.where = where
        self.difference = difference


class InvalidSetting(PartitionError):
    """Operators, tiers, links or budgets that do not fit together. The message names the first that does not."""


class NoFeasiblePlan(PartitionError):
    """No assignment that was enumerated keeps every budget.

    Attributes:
        budget: name of the budget that rules out the last assignment that the others leave.
        least: the least value of that figure (the largest one, where the budget is a least value) among assignments
            that keep the budgets in front of it. NaN where nobody has measured it.
    """

    def __init__(self, budget: str, limit: float, least: float, *, at_least: bool = False) -> None:
        kind, best, move = ("least", "most", "lower") if at_least else ("most", "least", "raise")
        why = f"for the {best} {budget} that the other budgets allow is {least:.4g}; {move} that budget, or another one"
        if math.isnan(least):
            why = f"for nobody has measured {budget}; measure it first, or leave that budget out"
        super().__init__(f"no plan keeps every budget: {budget} of at {kind} {limit:.4g} rules out the last one, {why}")
        self.budget = budget
        self.least = least


class ProfileUnusable(PartitionError):
    """A machine's profile cannot be read, written or measured, or lacks what is asked of it. The message says which."""


class UnknownMetric(PartitionError):
    """There is no metric of that name. The message names the nearest."""


class NotQuantisable(PartitionError):
    """A head of fewer bits cannot be made. The message says what is missing."""


class InvalidManifest(PartitionError):
    """What was passed to `save` does not fit the manifest's schema."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"the manifest cannot hold {where or 'this combination'}: {reason}; nothing was written")


class BundleExists(PartitionError):
    """The target path is taken."""
