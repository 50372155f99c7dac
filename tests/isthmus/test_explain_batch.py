"""`isthmus explain` tells of frames and of batches."""

from __future__ import annotations

import pytest

from isthmus.cli.explain import batches_told
from isthmus.cli.main import main
from serving.scheduling.jobs import Job, Path
from serving.scheduling.scheduler import Scheduler


def a_scheduler(steps: int) -> Scheduler:
    made = Scheduler()
    path = Path(*(f"step {number}" for number in range(steps)))
    for number in range(steps):
        made.costs.learn(f"step {number}", 1, 0.002)
        made.costs.learn(f"step {number}", 2, 0.0025)
    for _ in range(2):
        made.offer(Job("x", 100.0, path), 0.0)
    batch, _ = made.next(0.0)
    assert batch is not None
    return made


def test_the_page_tells_costs_and_reasons() -> None:
    page = batches_told(a_scheduler(1).explained(1.0), 10)
    assert any(line.startswith("step 0") and "1: 2 ms  2: 2.5 ms" in line for line in page)
    assert page[-1] == (
        "1.0 s ago: step 0, 2 of 2 in line, 2 here: all that stood before this step; not done yet, 2.5 ms expected."
    )


def test_of_many_steps_the_busiest_are_told() -> None:
    known = a_scheduler(20).explained(1.0)
    assert sum(line.startswith("step ") for line in batches_told(known, 0)) == 13  # with the heading
    assert "... and 8 more with --all" in batches_told(known, 0)
    assert sum(line.startswith("step ") for line in batches_told(known, 0, every=True)) == 21


def test_without_a_word_a_frame_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["explain", "nowhere", "3"], ["explain", "frame", "nowhere", "3"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert "no history at 'nowhere'" in capsys.readouterr().err
