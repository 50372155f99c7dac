"""An option table like the built-in model's, for the tests of this room."""

from __future__ import annotations

from adaptation.plan import Choice, Option, Plan, Route
from adaptation.snapshot import TierState

WHOLE = Choice(5, None, Route.DEVICE)
EXIT = Choice(3, None, Route.DEVICE)
INTERVAL_S = 0.1
DEADLINE_S = 0.25
TIERS = {Route.EDGE: TierState(True), Route.CLOUD: TierState(True)}


def builtin_plan(*routes: Route) -> Plan:
    """Whole model 200 ms, exit 115 ms; features of 25 to 300 bytes at four cuts, pictures of 800 to 3000 at cut 0."""
    options = [
        Option(WHOLE, 0.2, 0, 0, 0.0, 0.975),
        Option(EXIT, 0.115, 0, 0, 0.0, 0.965),
    ]
    for route in routes or (Route.EDGE,):
        for level, (size, accuracy) in enumerate(((800, 0.96), (1600, 0.967), (3000, 0.97))):
            options.append(Option(Choice(0, level, route), 0.03, size, 60, 0.004, accuracy, overhead_bytes=70))
        for cut, device_s in ((1, 0.03), (2, 0.07), (3, 0.1), (4, 0.12)):
            for level, accuracy in enumerate((0.95, 0.962, 0.97, 0.975)):
                features = (300, 200, 120, 75)[cut - 1] * (level + 1) / 3
                option = Option(Choice(cut, level, route), device_s, features, 60, 0.004, accuracy, overhead_bytes=70)
                options.append(option)
    return Plan(tuple(options))
