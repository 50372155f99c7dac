"""A contextual bandit over the plan: LinUCB (Li et al., WWW 2010), the learner of Autodidactic Neurosurgeon (Zhang et
al., WWW 2021), on a sliding window, so that it stays a pure function of the frames that ended lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.decision import Decision
from adaptation.policies.uploads import chosen
from adaptation.snapshot import Snapshot
from adaptation.worth import usable


@dataclass(frozen=True, slots=True)
class LinUcbPolicy:
    """The greatest upper confidence bound of a linear model of utility.

    Attributes:
        width: of the confidence bound; 0 never explores.
        ridge: regularisation.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("width", "ridge")

    width: float = 0.25
    ridge: float = 0.5

    def decide(self, snapshot: Snapshot) -> Decision:
        """See the class."""
        plan = snapshot.plan
        features = _features(snapshot)  # [options, features]
        seen = [
            (plan.columns.positions.get(past.choice), past.in_time)
            for past in snapshot.recent
            if past.in_time or not past.answered  # one that came too late has been counted at its deadline
        ]
        known = [(place, in_time) for place, in_time in seen if place is not None]
        rows = features[[place for place, _ in known]] if known else np.zeros((0, features.shape[1]))
        rewards = np.array([plan.columns.accuracy[place] * in_time for place, in_time in known])
        inverse = np.linalg.inv(rows.T @ rows + self.ridge * np.eye(features.shape[1]))
        expected = features @ (inverse @ (rows.T @ rewards))
        bound = expected + self.width * np.sqrt(np.einsum("of,fg,og->o", features, inverse, features))
        able = np.array([usable(snapshot, route) for route in plan.columns.routes])[plan.columns.route]
        place = int(np.where(able, bound, -np.inf).argmax())
        return chosen(snapshot, place, plan[place].device_s + plan[place].tier_s, "greatest upper confidence bound")


def _features(snapshot: Snapshot) -> FloatArray:
    """[options, 5]: one, whether local, device time per budget, root of bytes per the plan's greatest, accuracy."""
    columns = snapshot.plan.columns
    local = np.zeros(len(snapshot.plan))
    local[columns.local] = 1.0
    greatest = max(float(columns.message_bytes.max()), 1.0)
    budget_s = max(snapshot.deadline_s - (snapshot.captured_s or snapshot.now_s), 1e-3)
    sizes = np.sqrt(columns.message_bytes / greatest)
    return np.stack([np.ones(len(snapshot.plan)), local, columns.device_s / budget_s, sizes, columns.accuracy], axis=1)
