"""Policies: each turns a snapshot into a decision, and is pure: same snapshot, same decision, nothing remembered.

To add one: a file here with a frozen dataclass that has `decide`, and one line in `_KINDS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Protocol

from adaptation.decision import Decision
from adaptation.errors import UnknownPolicy
from adaptation.policies.content import ContentPolicy
from adaptation.policies.contention import ContentionPolicy
from adaptation.policies.deadline import DeadlinePolicy
from adaptation.policies.empirical import EmpiricalPolicy
from adaptation.policies.fixed import FixedPolicy
from adaptation.policies.linucb import LinUcbPolicy
from adaptation.policies.neurosurgeon import NeurosurgeonPolicy
from adaptation.policies.spinn import SpinnPolicy
from adaptation.policies.throughput import ThroughputPolicy
from adaptation.snapshot import Snapshot

__all__ = ["NAMES", "DeadlinePolicy", "FixedPolicy", "Policy", "policy_named"]


class Policy(Protocol):
    """Chooses, for one frame at a time."""

    def decide(self, snapshot: Snapshot) -> Decision:
        """What to do with the frame this snapshot was taken for. Pure."""
        ...


_KINDS: Mapping[str, tuple[Callable[..., Policy], frozenset[str]]] = {
    "content": (ContentPolicy.of, frozenset(ContentPolicy.PARAMETERS)),
    "contention": (ContentionPolicy.of, frozenset(ContentionPolicy.PARAMETERS)),
    "deadline": (DeadlinePolicy.of, frozenset(DeadlinePolicy.PARAMETERS)),
    "empirical": (EmpiricalPolicy, frozenset(EmpiricalPolicy.PARAMETERS)),
    "ewma": (ThroughputPolicy.of_ewma, frozenset(ThroughputPolicy.PARAMETERS)),
    "fixed": (FixedPolicy.of, frozenset(FixedPolicy.PARAMETERS)),
    "harmonic": (ThroughputPolicy.of_harmonic, frozenset(ThroughputPolicy.PARAMETERS)),
    "linucb": (LinUcbPolicy, frozenset(LinUcbPolicy.PARAMETERS)),
    "neurosurgeon": (NeurosurgeonPolicy, frozenset(NeurosurgeonPolicy.PARAMETERS)),
    "spinn": (SpinnPolicy, frozenset(SpinnPolicy.PARAMETERS)),
}

NAMES: tuple[str, ...] = tuple(_KINDS)
"""Every policy that `policy_named` knows."""


def policy_named(name: str, parameters: Mapping[str, object] | None = None) -> Policy:
    """The policy of a settings file's `[policy]` table.

    Args:
        name: a key of `_KINDS`.
        parameters: for "deadline", the fields of `Goal` and `Hedging`, and `hedge`; for "fixed", `cut`, `level`,
            `route` and `handover`; for the others see their classes.

    Raises:
        UnknownPolicy: no such policy, no such parameter, or one it needs is missing.
        InvalidValue: a parameter's value is outside its range.
    """
    if name not in _KINDS:
        raise UnknownPolicy(f"there is no policy {name!r}{_nearest(name, _KINDS)}; choose one of {', '.join(_KINDS)}")
    build, known = _KINDS[name]
    given = dict(parameters or {})
    for key in given:
        if key not in known:
            raise UnknownPolicy(
                f"policy {name!r} has no parameter {key!r}{_nearest(key, known)}; it takes {', '.join(sorted(known))}"
            )
    return build(**given)


def _nearest(word: str, known: Mapping[str, object] | frozenset[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
