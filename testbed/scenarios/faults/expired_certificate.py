"""A certificate that nobody has renewed."""

from __future__ import annotations

from typing import Literal

from testbed.scenarios.faults.fault import Fault, Stage


class ExpiredCertificate(Fault):
    """A tier is restarted with a certificate that is out of date: nobody may trust it. After `for_s` it is renewed.

    It listens with TLS from the start, and callers check it. The renewal needs no restart: tiers read their files anew.
    """

    kind: Literal["expired-certificate"]

    def begin(self, stage: Stage) -> None:
        stage.expire(self.target)

    def end(self, stage: Stage) -> None:
        stage.renew(self.target)
