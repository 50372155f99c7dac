"""The comparison with other servers: what its client counts, that all servers run one model, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peer_models, peer_servers, peers
from benchmarks.open_loop import Client, closed_loop, open_loop

REQUEST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi"
AMPLE_S = 30.0


@asynccontextmanager
async def a_server(*answers: bytes) -> AsyncIterator[int]:
    """Gives its answers in turn, to whichever connection asks; b"" is silence."""
    turn = iter(answers)
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readexactly(len(REQUEST)) == REQUEST:
                answer = next(turn, answers[-1])
                if not answer:
                    await silent.wait()
                    return
                for at in range(0, len(answer), 7):  # in pieces
                    writer.write(answer[at : at + 7])
                    await writer.drain()
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        silent.set()


def _answer(status: int, body: bytes = b"well") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n"


async def test_answers_refusals_and_silence_are_told_apart() -> None:
    async with a_server(_answer(200), CHUNKED, _answer(503), b"", _answer(200)) as port:
        client = Client(port, REQUEST, AMPLE_S)
        for _ in range(3):
            await client.ask(asyncio.get_running_loop().time())
        impatient = Client(port, REQUEST, 0.2)
        await impatient.ask(asyncio.get_running_loop().time())
        await client.ask(asyncio.get_running_loop().time())
    seen = client.seen
    assert (seen.offered, seen.in_time, seen.refused, seen.given_up) == (4, 3, 1, 0)
    assert len(seen.latencies) == 3
    assert (impatient.seen.given_up, impatient.seen.in_time) == (1, 0)


async def test_an_open_loop_goes_on_sending_while_nobody_answers() -> None:
    async with a_server(b"") as port:
        client = Client(port, REQUEST, 0.3)
        await open_loop(client, 100.0, 0.3, seed=1)
    assert client.seen.offered > 10
    assert client.seen.given_up == client.seen.offered


async def test_a_closed_loop_has_one_request_under_way_for_each_client() -> None:
    async with a_server(_answer(200)) as port:
        client = Client(port, REQUEST, AMPLE_S)
        await closed_loop(client, 3, 0.2)
    assert client.seen.in_time == client.seen.offered > 3


def test_the_model_that_peers_run_is_the_one_that_the_tier_runs(tmp_path: Path) -> None:
    from runtime.bundle import Bundle
    from runtime.engines.onnxruntime import OnnxRuntimeEngine
    from runtime.stage import Stage

    peer_models.write_whole(peer_models.DIGITS, tmp_path / "whole.onnx")
    with Bundle.open(peer_models.DIGITS) as bundle:
        shape = bundle.manifest.input.shape
        items = np.random.default_rng(1).integers(0, 256, (3, *shape), dtype=np.uint8)
        truth = Stage(bundle, OnnxRuntimeEngine()).run(items)[0]
    (found,) = OnnxRuntimeEngine().load(tmp_path / "whole.onnx").run([items])
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)


def _round(ours: float, lit: float, ray: float, engine: float) -> dict[str, object]:
    def told(per_s: float) -> dict[str, dict[str, float]]:
        return {"peak": {"in_time_per_s": per_s}, "over": {"in_time_per_s": per_s / 2}}

    return {"isthmus": told(ours), "LitServe": told(lit), "Ray Serve": told(ray), "engine": engine}


@pytest.mark.parametrize(
    ("model", "targets"), [("digits", [2.0, 2.0, 3.0, 2.0]), ("mobilenet", [1.0, 2.0, 1.0, 2.0, 0.9])]
)
def test_figures_are_ratios_of_rounds_held_against_the_promises(model: str, targets: list[float]) -> None:
    rounds = [_round(400, 100, 50, 500), _round(380, 100, 40, 400)]
    figures = peers.of_model({"model": model, "rounds": rounds})
    promised = [figure for figure in figures if figure.target is not None]
    assert [figure.target for figure in promised] == targets
    assert [figure.value for figure in promised[:4]] == pytest.approx([3.9, 3.9, 8.75, 8.75])
    (share,) = (figure for figure in figures if figure.against == "engine alone")
    assert share.value == pytest.approx(0.875)
    assert share.holds is (False if model == "mobilenet" else None)


class Played:
    """A server that answers what it is offered up to 130 a second, and less the more it is beyond that."""

    def __init__(self) -> None:
        self.offered: list[float] = []

    @contextmanager
    def running(self, *_: object) -> Iterator[int]:
        yield 1

    def play(self, port: int, request: bytes, *, rate: float = 0.0, **_: object) -> dict[str, float]:
        self.offered += [rate] if rate else []
        return {"offered_per_s": rate, "in_time_per_s": min(rate, 2 * 130.0 - rate)}


def test_loads_grow_until_the_goodput_falls_wherever_the_closed_loops_saw_the_capacity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = peer_servers.Server([], lambda *_: [], lambda *_: b"", lambda *_: np.zeros(1, np.float32))
    model = peer_models.Model("", Path(), Path(), np.zeros(1, np.uint8), np.zeros(1, np.float32))
    for capacity in (70.0, 100.0, 180.0):
        played = Played()
        monkeypatch.setattr(peers, "running", played.running)
        monkeypatch.setattr(peers, "play", played.play)
        found = peers.one_round(server, model, {}, capacity, seed=1)
        assert found["peak"]["in_time_per_s"] > 130.0 / 1.15
        assert played.offered[-1] == pytest.approx(1.5 * found["peak"]["offered_per_s"])
        assert len(played.offered) <= len(peers.LOADS) + 1
