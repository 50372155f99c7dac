"""Puts every case to a server, one after the other, and says what came of it."""

from __future__ import annotations

import http.client
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import grpc
from google.protobuf.message import DecodeError

from isthmus.conformance import (
    agreement,
    grpc_inference,
    grpc_metadata,
    grpc_refusals,
    rest_binary,
    rest_extensions,
    rest_health,
    rest_inference,
    rest_metadata,
    rest_refusals,
)
from isthmus.conformance.cases import Case, Deviation, Inapplicable, Way
from isthmus.conformance.target import Target

_AREAS = (
    rest_health.HEALTH, rest_metadata.SERVER, rest_metadata.MODEL, rest_inference.INFER, rest_refusals.ERROR,
    rest_refusals.REFUSED, rest_binary.BINARY, rest_extensions.STATISTICS, rest_extensions.REPOSITORY,
    grpc_metadata.SERVER, grpc_metadata.MODEL, grpc_inference.INFER, grpc_inference.STREAM, grpc_refusals.REFUSED,
    grpc_metadata.STATISTICS, grpc_metadata.REPOSITORY, agreement.BOTH,
)  # fmt: skip
_UNFIT = (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, DecodeError)
"""What comes of reading an answer that has another form than the protocol's."""

Outcome = Literal["passed", "failed", "inapplicable"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one case; `found` is what was there instead, or why it could not be put."""

    name: str
    clause: str
    expects: str
    outcome: Outcome
    found: str


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts on one server."""

    rest: str | None
    grpc: str | None
    model: str
    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> Counter[Outcome]:
        """Verdicts by outcome."""
        return Counter(verdict.outcome for verdict in self.verdicts)

    @property
    def conforms(self) -> bool:
        """Whether no case failed."""
        return not self.counts["failed"]

    def tree(self) -> dict[str, object]:
        """As JSON can hold it."""
        return {
            "rest": self.rest,
            "grpc": self.grpc,
            "model": self.model,
            "cases": len(self.verdicts),
            **{outcome: self.counts[outcome] for outcome in ("passed", "failed", "inapplicable")},
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }


def cases(only: str = "") -> list[Case]:
    """All cases whose names begin so, in the order in which they are put."""
    return [case for area in _AREAS for case in area if case.name.startswith(only)]


def run(target: Target, *, only: str = "", tell: Callable[[Verdict], None] = lambda verdict: None) -> Report:
    """Put the cases to a server; `tell` hears of each.

    Raises:
        TargetUnusable: it does not answer, or tells too little of itself to be asked more.
    """
    model = target.model
    verdicts = []
    for verdict in _verdicts(target, cases(only)):
        tell(verdict)
        verdicts.append(verdict)
    return Report(target.rest, target.grpc_address, model, tuple(verdicts))


def _verdicts(target: Target, asked: Sequence[Case]) -> Iterator[Verdict]:
    for case in asked:
        outcome, found = _outcome(target, case)
        yield Verdict(case.name, case.clause, case.expects, outcome, found)


def _outcome(target: Target, case: Case) -> tuple[Outcome, str]:
    if case.way is not Way.GRPC and target.rest is None:
        return "inapplicable", "no REST address was given"
    if case.way is not Way.REST and target.grpc_address is None:
        return "inapplicable", "no gRPC address was given"
    if case.extension and case.extension not in target.extensions:
        return "inapplicable", f"the server does not name the extension {case.extension}"
    try:
        case.check(target)
    except Inapplicable as exc:
        return "inapplicable", str(exc)
    except Deviation as exc:
        return "failed", str(exc)
    except grpc.RpcError as exc:
        return "failed", f"status {exc.code().name}: {exc.details()}"
    except (OSError, http.client.HTTPException) as exc:
        return "failed", f"no answer: {type(exc).__name__}: {exc}"
    except _UNFIT as exc:
        return "failed", f"the answer cannot be read: {type(exc).__name__}: {str(exc)[:160]}"
    return "passed", ""
