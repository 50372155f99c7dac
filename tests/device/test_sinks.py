"""Each sink by what lies in it afterwards, and the queue in front of it."""

import http.server
import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from device.errors import SinkError
from device.settings import load
from device.sinks import Delivery, Outlet
from device.sinks.callback import Callback
from device.sinks.jsonl import JsonLines
from device.sinks.sqlite import SqliteTable
from device.sinks.webhook import Webhook

WAIT_S = 20.0


def delivery(key: str, **changes: object) -> Delivery:
    usual = Delivery(
        key=key, device="cam", bundle="0" * 16, source="1.png", captured_at=1e9, answered_at=1e9 + 0.1, by="edge",
        exit=False, route="edge", cut=2, level=0, label=3, name="three", confidence=0.75, in_time=True, late=False,
    )  # fmt: skip
    return replace(usual, **changes)


def test_lines_are_appended_and_say_everything(tmp_path):
    path = tmp_path / "deep" / "answers.jsonl"
    for key in ("a", "b"):
        sink = JsonLines(path)
        sink.put([delivery(key)])
        sink.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        asdict(delivery("a")), asdict(delivery("b")),
    ]  # fmt: skip


def test_half_a_line_is_cut_off_before_the_next(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(delivery("a").to_json() + "\n" + delivery("b").to_json()[:40])
    sink = JsonLines(path)
    sink.put([delivery("b")])
    sink.close()
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_second_agent_does_not_write_the_file_of_the_first(tmp_path):
    path = tmp_path / "answers.jsonl"
    first = JsonLines(path)
    first.put([delivery("a")])
    with pytest.raises(SinkError, match="another agent writes it; set another path"):
        JsonLines(path)
    first.put([delivery("b")])
    first.close()
    JsonLines(path).close()
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_table_has_each_key_once_and_the_first_answer_counts(tmp_path):
    sink = SqliteTable(tmp_path / "answers.db")
    sink.put([delivery("a"), delivery("b", label=None, name=None, confidence=None)])
    sink.put([delivery("a", label=9), delivery("c")])
    sink.close()
    with sqlite3.connect(tmp_path / "answers.db") as database:
        rows = database.execute("SELECT key, label, confidence FROM answers ORDER BY key").fetchall()
    assert rows == [("a", 3, 0.75), ("b", None, None), ("c", 3, 0.75)]


@pytest.mark.parametrize("kind", [JsonLines, SqliteTable])
def test_a_place_that_cannot_be_written_is_told(tmp_path, kind):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="set another path"):
        kind(tmp_path / "file" / "answers")


class Receiver(http.server.ThreadingHTTPServer):
    """Takes posts, after refusing the first few."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.got: list[dict] = []
        self.tokens: set[str | None] = set()
        super().__init__(("127.0.0.1", 0), _Post)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/answers"


class _Post(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers.get("Authorization"))
        self.server.refusals -= 1
        if self.server.refusals >= 0:
            self.send_response(503 if self.server.refusals else 302)
            self.send_header("Location", self.server.url)
        else:
            self.server.got.extend(json.loads(body))
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver(refusals=2)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_every_answer_though_it_refuses_at_first(receiver):
    done = threading.Event()
    sink = Webhook(receiver.url, {"Authorization": "Bearer t"}, 5.0)
    outlet = Outlet(sink, "webhook", 100, delivered=lambda batch: done.set() if batch[-1].key == "c" else None)
    for key in "abc":
        outlet.put(delivery(key))
    assert done.wait(WAIT_S)
    outlet.close(WAIT_S)
    assert [one["key"] for one in receiver.got] == ["a", "b", "c"]
    assert receiver.tokens == {"Bearer t"}
    assert receiver.got[0] == asdict(delivery("a"))


def test_a_receiver_that_is_not_there_is_told():
    with pytest.raises(SinkError, match="check that it is reachable"):
        Webhook("http://127.0.0.1:9/", {}, 1.0).put([delivery("a")])


def test_a_function_gets_every_answer_and_is_asked_again():
    got, done = [], threading.Event()

    def take(one: Delivery) -> None:
        got.append(one.key)
        if got == ["a"]:
            raise SinkError("not now")
        if one.key == "b":
            done.set()

    outlet = Outlet(Callback(take), "given", 10)
    outlet.put(delivery("a"))
    outlet.put(delivery("b"))
    assert done.wait(WAIT_S)
    outlet.close(WAIT_S)
    assert got[0] == got[1] == "a"
    assert got[-1] == "b"
    assert outlet.delivered == 2


def test_a_sink_that_stands_still_loses_the_oldest_and_tells_which():
    begun, go = threading.Event(), threading.Event()
    got, let_go = [], []

    class Slow:
        def put(self, batch):
            begun.set()
            go.wait(WAIT_S)
            got.extend(one.key for one in batch)

        def close(self):
            got.append("closed")

    outlet = Outlet(Slow(), "slow", 2, let_go=let_go.append)
    outlet.put(delivery("a"))
    assert begun.wait(WAIT_S)
    for key in "bcd":
        outlet.put(delivery(key))
    assert let_go == ["a", "b"]
    go.set()
    outlet.close(WAIT_S)
    assert got == ["a", "c", "d", "closed"]
    assert outlet.lost == 2


def test_sinks_are_a_list_in_the_settings(tmp_path):
    path = tmp_path / "device.toml"
    path.write_text(
        'bundle = "b"\n[source]\npath = "p"\n[[sinks]]\nkind = "jsonl"\npath = "a.jsonl"\n'
        '[[sinks]]\nkind = "webhook"\nurl = "http://localhost/"\n'
    )
    assert [sink.kind for sink in load(path).sinks] == ["jsonl", "webhook"]
