import json

import pytest

from device.errors import EndedTwice, HistoryError
from device.history import Ending, FrameRecord, History


def record(frame: int, ended: Ending = Ending.ANSWERED) -> FrameRecord:
    return FrameRecord(frame=frame, captured_s=0.1, ended=ended, latency_s=0.05, deadline_s=0.25, in_time=True)


def test_a_line_is_on_disk_as_soon_as_its_frame_has_ended(tmp_path):
    path = tmp_path / "deep" / "history.jsonl"
    history = History(path)
    history.begin(1)
    history.end(record(1))
    line = json.loads(path.read_text())  # read while the writer still holds the file
    assert line["frame"] == 1
    assert line["ended"] == "answered"
    assert set(line) == {
        "frame", "captured_s", "ended", "by", "route", "reason", "cut", "level", "front_of", "exit", "payload_bytes",
        "message_bytes", "latency_s", "deadline_s", "in_time", "answer", "confidence", "device_s", "hedge_s",
        "tier_s", "network_s", "decision", "source", "key", "late",
    }  # fmt: skip
    history.close()


def test_a_second_end_is_refused(tmp_path):
    with History(tmp_path / "history.jsonl") as history:
        history.begin(1)
        history.end(record(1))
        with pytest.raises(EndedTwice):
            history.end(record(1, Ending.EXPIRED))
        with pytest.raises(EndedTwice):
            history.end(record(2))
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1
    assert history.endings == {Ending.ANSWERED: 1}


def test_a_history_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match=r"history\.path"):
        History(tmp_path / "file" / "history.jsonl")


def test_a_second_agent_neither_empties_nor_writes_the_history_of_the_first(tmp_path):
    path = tmp_path / "history.jsonl"
    with History(path) as first:
        first.begin(1)
        first.end(record(1))
        with pytest.raises(HistoryError, match=r"another agent writes it; set another history\.path"):
            History(path)
        assert len(path.read_text().splitlines()) == 1
    with History(path):
        assert path.read_text() == "", "a run has a history of its own"
