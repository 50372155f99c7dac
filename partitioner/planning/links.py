"""Links as people write them: "10Mbit 40ms", "10Mbit/2Mbit 40ms", "1Gbit"."""

from __future__ import annotations

import re

from partitioner.errors import InvalidSetting
from partitioner.planning.network import Link

_BITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATE = r"(\d+(?:\.\d+)?)\s*([kmg]?bit)"
_FORM = re.compile(rf"{_RATE}(?:/{_RATE})?(?:\s+(\d+(?:\.\d+)?)\s*(us|ms|s))?", re.IGNORECASE)


def parse_link(text: str) -> Link:
    """A link from text: rate up, rate down after a slash (else the same), delay one way (else none).

    Units are those of tc-netem: bit, kbit, Mbit and Gbit per second; us, ms and s.

    Raises:
        InvalidSetting: shows the form.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise InvalidSetting(
            f'{text!r} is no link; write rate and one-way delay like "10Mbit 40ms", '
            'or "10Mbit/2Mbit 40ms" where the way down differs (bit, kbit, Mbit, Gbit; us, ms, s)'
        )
    up, up_unit, down, down_unit, delay, delay_unit = found.groups()
    rate_bps = float(up) * _BITS[up_unit.lower()]
    down_bps = None if down is None else float(down) * _BITS[down_unit.lower()]
    if rate_bps <= 0 or down_bps == 0:
        raise InvalidSetting(f"{text!r} carries nothing; a rate must be above 0")
    return Link(rate_bps, 0.0 if delay is None else float(delay) * _SECONDS[delay_unit.lower()], down_bps)


def told(link: Link) -> str:
    """A link for people."""
    down = "" if link.down_bps is None else f" up, {rate_text(link.down_bps)} down"
    programs = f", {1e3 * link.hop_s:g} ms in the programs at its ends" if link.hop_s else ""
    return f"{rate_text(link.rate_bps)}{down}, {1e3 * link.delay_s:g} ms one way{programs}"


def rate_text(bps: float) -> str:
    """A rate with a unit, three digits."""
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bps >= size:
            return f"{bps / size:.3g} {unit}"
    return f"{bps:.3g} bit/s"
