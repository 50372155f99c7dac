"""What the committed bundle promises: read from its manifest, checked again on pictures it was not measured on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from isthmus.builtin import digits
from isthmus.builtin.demo import BUNDLE, FIRST_ITEM
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import engine_named
from runtime.manifest import ImageLevel, LearnedLevel
from runtime.stage import Stage


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    with Bundle.open(BUNDLE) as opened:
        opened.verify_all()
        yield opened


@pytest.fixture(scope="module")
def pictures() -> list[digits.Item]:
    return list(digits.items("test", 120, start=FIRST_ITEM))


def test_it_is_small_enough_to_be_committed() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= 4 << 20


def test_it_has_four_cuts_three_learned_levels_each_and_an_exit(bundle: Bundle) -> None:
    inner = bundle.manifest.cuts[1:]
    assert len(inner) >= 4
    for cut in inner:
        assert sum(isinstance(level, LearnedLevel) for level in cut.levels) >= 3
    assert len(bundle.manifest.exits) == 1


def test_every_level_says_its_bytes_and_accuracy(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.measured is not None
    assert manifest.measured.accuracy >= 0.95
    for cut in manifest.cuts:
        for level in cut.levels:
            assert level.measured is not None
            assert level.measured.items >= 1000
        learned = [
            level.measured.payload_bytes for level in cut.levels if isinstance(level, LearnedLevel) and level.measured
        ]
        assert learned == sorted(learned)
    assert all(exit_.measured is not None for exit_ in manifest.exits)


def test_half_a_device_sends_a_tenth_of_a_picture(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.measured is not None
    floor = manifest.measured.accuracy - 0.01
    total = sum(segment.macs for segment in manifest.segments)
    picture = min(
        level.measured.payload_bytes
        for level in manifest.cuts[0].levels
        if isinstance(level, ImageLevel) and level.measured and level.measured.accuracy >= floor
    )
    assert any(
        level.measured.payload_bytes <= picture / 10
        for cut in manifest.cuts[1:]
        for level in cut.levels
        if isinstance(level, LearnedLevel)
        and level.measured
        and level.measured.accuracy >= floor
        and sum(segment.macs for segment in manifest.segments[: cut.index]) + level.encoder_macs <= total / 2
    )


def test_the_figures_hold_on_other_pictures(bundle: Bundle, pictures: list[digits.Item]) -> None:
    stage = Stage(bundle, engine_named("onnxruntime", 1))
    batch = np.stack([item.picture for item in pictures])
    right = stage.run(batch)[0].argmax(1) == [item.label for item in pictures]
    assert bundle.manifest.measured is not None
    # Three standard deviations of a share of 120 pictures.
    expected = bundle.manifest.measured.accuracy
    assert right.mean() >= expected - 3 * np.sqrt(expected * (1 - expected) / len(pictures))


def test_symbols_come_out_as_they_went_in(bundle: Bundle, pictures: list[digits.Item]) -> None:
    engine = engine_named("onnxruntime", 1)
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    for cut in bundle.manifest.cuts[1:]:
        activations = [stage.run(item.picture[None], 0, cut.index)[0] for item in pictures[:10]]
        for number, level in enumerate(cut.levels):
            codec = codecs.at(cut.index, number)
            if isinstance(level, LearnedLevel):
                assert isinstance(codec, LearnedCodec)
                for activation in activations:
                    symbols = codec.symbols(activation)
                    assert np.array_equal(codec.decode_symbols(codec.encode_symbols(symbols)), symbols)
