"""Figures, hindsight and report on hand-made records, against sums done by hand."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from adaptation.plan import Choice, Option, Plan, Route
from testbed.alternatives import Alternative
from testbed.errors import TestbedError
from testbed.figures import DEFINITIONS, RunRecord, figures
from testbed.hindsight import as_observed, best_fixed, play
from testbed.link.settings import DirectionSettings
from testbed.report import page, write_report
from testbed.setting import Setting

OPEN = DirectionSettings(kind="unlimited", delay_s=0.01)


def _setting(uplink: DirectionSettings = OPEN, **changes: Any) -> Setting:
    given = {"frames": 4, "labels": {"a.png": 1, "b.png": 2}, "downlink": OPEN, "command": "isthmus demo"} | changes
    return Setting(bundle=Path("some.bundle"), inputs=Path("inputs"), uplink=uplink, **given)


def _line(frame: int, **changes: Any) -> dict[str, Any]:
    line = {
        "frame": frame, "captured_s": frame / 10, "ended": "answered", "by": "edge", "route": "edge", "reason": "",
        "cut": 1, "level": 0, "exit": False, "payload_bytes": 90, "message_bytes": 100, "latency_s": 0.1,
        "deadline_s": 0.25, "in_time": True, "answer": 1, "confidence": 0.9, "device_s": 0.02, "tier_s": 0.01,
        "network_s": 0.05, "source": "a.png",
    }  # fmt: skip
    return line | changes


def _record(*lines: dict[str, Any], captured: int = 4, name: str = "adaptive", **changes: Any) -> RunRecord:
    link = [{"event": "start"}, {"at_s": 0.1, "up_bytes": 1000, "down_bytes": 10}]
    return RunRecord(Alternative(name, {}, "as it likes"), _setting(**changes), lines, link, captured)


RECORD = _record(
    _line(1),
    _line(2, latency_s=0.3, in_time=False),
    _line(3, ended="expired", by=None, in_time=False, answer=None, latency_s=0.251),
    _line(4, ended="dropped", by=None, route=None, cut=None, level=None, in_time=False, answer=None, message_bytes=0,
          latency_s=0.1),
)  # fmt: skip


def test_every_captured_frame_counts() -> None:
    assert figures(RECORD) == pytest.approx(
        {
            "mean_latency_s": (0.1 + 0.3 + 0.251 + 0.25) / 4,
            "p95_latency_s": 0.3 - 0.15 * (0.3 - 0.251),
            "deadline_miss_rate": 3 / 4,
            "bytes_per_frame": 300 / 4,
            "accuracy": 1 / 4,
            "accuracy_of_answers": 1.0,
            "frames": 4,
            "frames_lost": 0,
        }
    )
    assert list(figures(RECORD)) == list(DEFINITIONS)


def test_a_wrong_answer_in_time_is_no_miss_and_not_right() -> None:
    found = figures(_record(_line(1, answer=7), _line(2, source="b.png", answer=2), captured=2))
    assert (found["deadline_miss_rate"], found["accuracy"], found["accuracy_of_answers"]) == (0, 0.5, 0.5)


def test_frames_that_never_end_or_end_twice_are_lost() -> None:
    found = figures(_record(_line(1), _line(2), _line(2), captured=4))
    assert found["frames_lost"] == 3
    assert found["deadline_miss_rate"] == 0.5
    assert found["mean_latency_s"] == pytest.approx((0.1 + 0.1 + 0.25 + 0.25) / 4)


def _option(route: Route, device_s: float, payload_bytes: float = 0.0, accuracy: float = 1.0, cut: int = 1) -> Option:
    return Option(Choice(cut, None if route is Route.DEVICE else 0, route), device_s, payload_bytes, 0, 0.005, accuracy)


def test_a_slow_device_takes_the_latest_frame_whenever_it_is_free() -> None:
    """Captured at 0, 1/8 ... 4/8 s; taken up: the first at once, the third at 0.3125 s, the fifth at 0.625 s."""
    played = play(_option(Route.DEVICE, 0.3125), _setting(frames=5, rate_hz=8, deadline_s=0.4))
    assert played.in_time == 2 / 5
    assert played.mean_latency_s == pytest.approx((0.3125 + 0.375 + 0.4375 + 0.4 + 0.4) / 5)


def test_a_sent_frame_takes_device_link_delay_and_tier() -> None:
    rate = DirectionSettings(kind="rate", rate_bps=80_000, delay_s=0.02)
    played = play(_option(Route.EDGE, 0.03, 500), _setting(rate, frames=20))
    assert played.in_time == 1
    assert played.mean_latency_s == pytest.approx(0.03 + 500 * 8 / 80_000 + 0.02 + 0.005 + 0.01)
    farther = play(_option(Route.CLOUD, 0.03, 500), _setting(rate, frames=20, cloud_extra_s=0.015))
    assert farther.mean_latency_s == pytest.approx(played.mean_latency_s + 0.03)


def test_a_queue_that_only_grows_ends_in_misses() -> None:
    thin = DirectionSettings(kind="rate", rate_bps=80_000)
    played = play(_option(Route.EDGE, 0.01, 2000), _setting(thin, frames=100))
    assert played.in_time < 0.05


def test_hindsight_prefers_what_survives_the_outage() -> None:
    moving = DirectionSettings(kind="steps", steps=((5, 1e7), (5, 0)))
    device, edge = _option(Route.DEVICE, 0.09, accuracy=0.9, cut=3), _option(Route.EDGE, 0.01, 500, accuracy=1.0)
    ranked = best_fixed(_setting(moving, frames=100), Plan((edge, device)))
    assert [one.choice for one in ranked] == [device.choice, edge.choice]
    assert ranked[1].in_time == pytest.approx(0.5, abs=0.02)
    assert best_fixed(_setting(frames=100), Plan((edge, device)))[0].choice == edge.choice


def test_a_plan_follows_what_was_observed_live() -> None:
    plan = Plan((_option(Route.EDGE, 0.01, 500), _option(Route.DEVICE, 0.09, cut=3)))
    observed = as_observed(plan, [_line(1, device_s=0.02), _line(2, device_s=0.02), _line(3, device_s=0.9)])
    assert [option.device_s for option in observed] == pytest.approx([0.02, 0.18])
    assert as_observed(plan, [_line(1, ended="dropped", device_s=0.0)]) is plan


class _Links(HTMLParser):
    """Notes all that a browser would fetch, and that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return


def test_the_report_is_self_contained_and_well_formed() -> None:
    device = _record(_line(1, route="device", cut=3, level=None, by="device"), name="device_only")
    text = page([device, RECORD], notes={"<seed>": "1 & 2"})
    parser = _Links()
    parser.feed(text)
    assert parser.fetched == []
    assert parser.open == []
    assert not re.search(r"url\(|@import|<script", text)
    assert "&lt;seed&gt;" in text
    assert "isthmus demo" in text
    for told in ("225 ms", "75.0 %", "some.bundle", "cut 1, level 0, edge", "no bound"):
        assert told in text
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())


@pytest.mark.parametrize(
    "uplink",
    [
        DirectionSettings(kind="steps", steps=((1, 1e6), (1, 0), (1, 2e5))),
        DirectionSettings(kind="rate", rate_bps=5e4),
        OPEN,
    ],
    ids=["steps", "rate", "unlimited"],
)
def test_the_report_draws_any_link_and_an_empty_run(uplink: DirectionSettings) -> None:
    assert "<svg" in page([_record(captured=0, uplink=uplink, frames=30)])


def test_a_report_that_cannot_be_written_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TestbedError, match=r"report.*cannot be written"):
        write_report(tmp_path / "file" / "report.html", [RECORD])
