"""Every choice of a plan, held through a whole run without a word to any estimator: the best of them is the one that
somebody would have fixed who knew the run."""

from __future__ import annotations

import numpy as np

from testbed.simulation.conditions import Conditions
from testbed.simulation.supply import FloatArray


def fixed_utilities(given: Conditions) -> FloatArray:
    """[options]: mean utility of a frame if every frame takes this option. Without jitter and slowdown."""
    columns, supply = given.plan.columns, given.supply
    remote = np.array([option.choice.remote for option in given.plan])
    beyond_s = columns.tier_s + 2.0 * given.one_way_s
    beyond_s = beyond_s + [given.extra_s.get(option.choice.route, 0.0) for option in given.plan]
    free_s, promised, worth = np.zeros(remote.size), np.zeros(remote.size), np.zeros(remote.size)
    count = round(given.seconds / given.interval_s)
    for index in range(count):
        captured_s = round(index * given.interval_s, 9)
        start_s = np.maximum(free_s, captured_s)
        next_s = round((index + 1) * given.interval_s, 9) if index + 1 < count else np.inf
        deadline_s = captured_s + given.deadline_s
        taken = (start_s < next_s) & (start_s < deadline_s)
        done_s = start_s + columns.device_s
        free_s = np.where(taken, done_s, free_s)
        sent = taken & remote & (done_s < deadline_s)
        after = np.maximum(promised, supply.at_each(done_s)) + columns.message_bytes
        promised = np.where(sent, after, promised)
        answered_s = np.where(remote, supply.when_each(after) + beyond_s, done_s)
        in_time = taken & (sent | ~remote) & (answered_s <= deadline_s + 1e-9)
        worth += np.where(in_time, columns.accuracy, 0.0)
    return worth / count
