"""Heads of the built-in bundle on every engine: rounding moves next to no symbol, and every payload decodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.builtin import digits
from isthmus.builtin.demo import BUNDLE
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import engine_named, installed_engines
from runtime.manifest import LearnedLevel
from runtime.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ITEMS = 40
WAYS = [(engine, threads, batch) for engine in installed_engines() for threads in (1, 2) for batch in (1, ITEMS)]
"""Engine, threads of one run, and items that the head runs at a time."""


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    with Bundle.open(BUNDLE) as opened:
        yield opened


def codecs_of(bundle: Bundle, engine: str, threads: int) -> dict[tuple[int, int], LearnedCodec]:
    """The learned codecs, by cut and level."""
    codecs = Codecs(bundle, engine_named(engine, threads))
    found = {}
    for cut in bundle.manifest.cuts:
        for number, level in enumerate(cut.levels):
            if isinstance(level, LearnedLevel):
                codec = codecs.at(cut.index, number)
                assert isinstance(codec, LearnedCodec)
                found[cut.index, number] = codec
    return found


def symbols_of(bundle: Bundle, engine: str, threads: int, batch: int) -> dict[tuple[int, int], list[NDArray[np.int32]]]:
    """What head and encoder make of pictures that nothing was trained on, by cut and level."""
    pictures, _ = digits.arrays("test", ITEMS, start=6_000_000)
    stage, codecs = Stage(bundle, engine_named(engine, threads)), codecs_of(bundle, engine, threads)
    activations = {
        cut: np.concatenate([stage.run(pictures[i : i + batch], 0, cut)[0] for i in range(0, ITEMS, batch)])
        for cut in {cut for cut, _ in codecs}
    }
    return {place: [codec.symbols(item[None]) for item in activations[place[0]]] for place, codec in codecs.items()}


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> dict[tuple[int, int], list[NDArray[np.int32]]]:
    return symbols_of(bundle, *WAYS[0])


@pytest.mark.parametrize(("engine", "threads", "batch"), WAYS[1:])
def test_at_most_a_thousandth_of_the_symbols_differs_and_every_payload_decodes(
    bundle: Bundle,
    expected: dict[tuple[int, int], list[NDArray[np.int32]]],
    engine: str,
    threads: int,
    batch: int,
) -> None:
    found, readers = symbols_of(bundle, engine, threads, batch), codecs_of(bundle, *WAYS[0][:2])
    differing = sum(int((a != b).sum()) for place in found for a, b in zip(found[place], expected[place], strict=True))
    assert differing <= 0.001 * sum(symbols.size for items in expected.values() for symbols in items)
    for place, codec in codecs_of(bundle, engine, threads).items():
        for symbols in found[place][:10]:
            payload = codec.encode_symbols(symbols)
            assert np.array_equal(readers[place].decode_symbols(payload), symbols)
