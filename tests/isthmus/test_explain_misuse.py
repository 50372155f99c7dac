"""What is no history is told in one sentence, with the line where that shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.cli.explain_run import LINK, NothingToExplain, lines_of
from isthmus.cli.main import main
from testbed.link.emulator import Totals
from testbed.link.record import Record

FRAME = '{"frame": 1, "captured_s": 0.0, "ended": "dropped", "deadline_s": 0.25, "decision": null}\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no line"),
        (FRAME[:40].encode(), "holds no line"),
        (FRAME.encode() + b'{"frame": 2, \n', "line 2"),
        (b"\x00\xff\n", "line 1"),
        (b"[1]\n", "line 1"),
        (b'{"at_s": 0.1, "up_bytes": 3}\n', "has no captured_s, deadline_s, decision, ended, frame"),
    ],
)
def test_what_is_no_history_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(content)
    with pytest.raises(NothingToExplain, match=told):
        lines_of(path)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(FRAME + FRAME[:30])
    assert [line["frame"] for line in lines_of(path)] == [1]


def test_a_record_of_another_kind_is_not_taken_for_the_links(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(FRAME)
    with pytest.raises(SystemExit) as ended:
        main(["explain", "run", str(path), "--link", str(path), "--plot", str(tmp_path / "run.svg")])
    assert ended.value.code == 2
    assert "has no at_s, up_bytes; name another file" in capsys.readouterr().err


def test_what_a_link_records_is_taken_with_the_line_of_its_start(tmp_path: Path) -> None:
    record = Record(tmp_path / "link.jsonl")
    record.start(5.0, Totals(0, 0, 0, 0))
    record.line(Totals(300, 20, 0, 0))
    record.close()
    assert [line["up_bytes"] for line in lines_of(tmp_path / "link.jsonl", LINK)] == [300]
