"""Curves and baselines of evaluation, against independent computations."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, interpolate, optimize

from isthmus.evaluation import baselines
from isthmus.evaluation.bundle import Evaluation, evaluate
from isthmus.evaluation.curves import Curve, bytes_at, interval, rate_difference
from isthmus.evaluation.errors import NoOverlap
from isthmus.evaluation.page import page
from isthmus.evaluation.rivals import BARE
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage
from tests.runtime import tiny_bundle

RATES_A, PSNR_A = [9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]
RATES_B, PSNR_B = [9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]
"""An example of the JCT-VC test conditions' sheet."""


def test_the_rate_difference_is_that_of_numeric_integration_and_near_the_cubic_fit_of_vceg_m33() -> None:
    found = rate_difference(RATES_A, PSNR_A, RATES_B, PSNR_B)
    low, high = max(PSNR_A[-1], PSNR_B[-1]), min(PSNR_A[0], PSNR_B[0])
    grid = np.linspace(low, high, 20_001)
    joined = [
        interpolate.pchip_interpolate(quality[::-1], np.log10(rates[::-1]), grid)
        for quality, rates in ((PSNR_A, RATES_A), (PSNR_B, RATES_B))
    ]
    numeric = 10 ** (integrate.trapezoid(joined[1] - joined[0], grid) / (high - low)) - 1
    assert found == pytest.approx(numeric, abs=1e-6)
    cubics = [
        np.polyint(np.polyfit(quality, np.log10(rates), 3)) for quality, rates in ((PSNR_A, RATES_A), (PSNR_B, RATES_B))
    ]
    areas = [np.polyval(cubic, high) - np.polyval(cubic, low) for cubic in cubics]
    assert found == pytest.approx(10 ** ((areas[1] - areas[0]) / (high - low)) - 1, abs=0.002)


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 3.0])
def test_a_constant_factor_is_found_exactly(factor: float) -> None:
    rates, quality = np.array([10.0, 20, 50, 90]), np.array([0.5, 0.7, 0.85, 0.9])
    assert rate_difference(rates, quality, factor * rates, quality) == pytest.approx(factor - 1)
    assert rate_difference(factor * rates, quality, rates, quality) == pytest.approx(1 / factor - 1)


def test_levels_that_another_one_beats_change_nothing() -> None:
    rates, quality = [10.0, 20, 50], [0.5, 0.7, 0.9]
    plain = rate_difference(rates, quality, [8.0, 16, 45], quality)
    assert rate_difference([*rates, 30], [*quality, 0.6], [8.0, 16, 45], quality) == plain


def test_curves_without_a_common_quality_have_no_difference() -> None:
    with pytest.raises(NoOverlap, match="no quality in common"):
        rate_difference([10, 20], [0.1, 0.2], [10, 20], [0.5, 0.6])
    with pytest.raises(NoOverlap, match="fewer than two"):
        rate_difference([10, 20], [0.6, 0.2], [10, 20], [0.5, 0.6])


def test_the_bytes_at_a_quality_lie_between_levels_and_swings_are_pooled() -> None:
    assert bytes_at([100, 400], [0.9, 1.0], 0.95) == pytest.approx(200)
    assert bytes_at([400, 100], [1.0, 0.9], 0.9) == pytest.approx(100)
    assert bytes_at([100, 400], [0.9, 0.94], 0.95) == float("inf")
    swinging = bytes_at([100, 200, 300, 400], [0.90, 0.97, 0.95, 1.0], 0.98)
    assert swinging == pytest.approx(bytes_at([300, 400], [0.96, 1.0], 0.98))


@pytest.mark.parametrize("seed", range(5))
def test_pooling_is_the_isotonic_regression_of_scipy(seed: int) -> None:
    sizes, quality = np.arange(1.0, 9.0), np.random.default_rng(seed).random(8)
    fitted = optimize.isotonic_regression(quality).x
    for place in np.flatnonzero(np.diff(fitted) > 1e-9):
        middle = (fitted[place] + fitted[place + 1]) / 2
        between = np.exp(np.log(sizes[place : place + 2]).mean())
        assert bytes_at(sizes, quality, middle) == pytest.approx(between)


def _curve(name: str, factor: float, seed: int, items: int) -> Curve:
    """Bytes that differ between items, answers that are right with a known probability."""
    generator = np.random.default_rng(seed)
    means = factor * np.array([20.0, 40, 80, 160])
    sizes = generator.gamma(20, means[:, None] / 20, (4, items))
    right = generator.random((4, items)) < np.array([0.6, 0.75, 0.85, 0.9])[:, None]
    return Curve(name, tuple("0123"), sizes, right)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Curve b needs half of the bytes of a; 30 fresh samples of 400 items each."""
    held, widths = 0, []
    for seed in range(30):
        low, high = interval(_curve("a", 1.0, 2 * seed, 400), _curve("b", 0.5, 2 * seed + 1, 400), draws=150)
        held += low <= -0.5 <= high
        widths.append(high - low)
    assert held >= 24
    assert max(widths) < 0.5


def test_an_exit_stands_beside_the_levels_with_no_bytes_and_its_own_answers(tmp_path: Path) -> None:
    tiny = tiny_bundle.build(tmp_path)
    items = np.concatenate(tiny_bundle.pictures(12))
    with Bundle.open(tiny.path) as bundle:
        found = evaluate(bundle, items, None, lambda told: None, draws=20)
        declared = bundle.manifest.exits[0]
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        early = stage.exit(declared.cut, stage.run(items, 0, declared.cut)[0]).argmax(1)
        whole = stage.run(items)[0].argmax(1)
        heads = [sum(segment.macs for segment in bundle.manifest.segments[:cut]) for cut in range(3)]
    (curve,) = [curve for curve in found.curves if curve.name == f"exit at cut {declared.cut}, nothing sent"]
    assert curve.bytes.tolist() == [0.0]
    assert curve.quality.tolist() == [float((early == whole).mean())]
    assert not [one for one in found.differences if "exit" in one.against]
    assert [found.efforts[f"cut {cut} raw"][0].device_macs for cut in range(3)] == heads
    learned = found.efforts["cut 1 learned"]
    assert [one.encoder_parameters for one in learned] == [tiny_bundle.LATENT_CHANNELS * 8 * 2 * 2] * 3
    assert all(one.encode_s > 0 for one in learned)
    bare, whole_files = (
        next(curve for curve in found.curves if curve.name == f"jpeg of the picture, stock classifier{ending}")
        for ending in (BARE, "")
    )
    assert (bare.bytes < whole_files.bytes - 100).all()
    assert np.array_equal(bare.right, whole_files.right)


class _Plot(HTMLParser):
    """Lines of the plots with their points, in pixels, and the cells of the tables."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[list[tuple[float, float]]] = []
        self.cells: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_cell = tag == "td"
        if tag == "polyline":
            points = [pair.split(",") for pair in (dict(attrs)["points"] or "").split()]
            self.lines.append([(float(x), float(y)) for x, y in points])

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells.append(data)


def test_the_page_draws_every_curve_where_its_bytes_and_answers_are() -> None:
    ours, picture = _curve("cut 1 learned", 1.0, 0, 200), _curve("webp <of> the picture", 2.0, 1, 200)
    silent = Curve("exit at cut 1, nothing sent", ("exit",), np.zeros((1, 200)), ours.right[:1])
    found = Evaluation(200, "accuracy", 0.92, (ours, silent, picture), ())
    plot = _Plot()
    plot.feed(page(found, "a & b"))
    assert [len(line) for line in plot.lines] == [4, 1, 4] * 2, "for a wide screen and for a narrow one"
    assert plot.lines[1][0][0] <= min(x for line in plot.lines for x, _ in line)
    xs, ys = zip(*(plot.lines[0] + plot.lines[2]), strict=True)
    logs = np.log(np.concatenate([ours.bytes, picture.bytes]))
    quality = np.concatenate([ours.quality, picture.quality])
    assert np.corrcoef(xs, logs)[0, 1] > 0.9999
    assert np.corrcoef(ys, quality)[0, 1] < -0.9999
    assert "webp <of> the picture" in plot.cells


def smooth(count: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng(1)
    coarse = generator.uniform(0, 255, (count, 4, 4, 3))
    return np.clip(coarse.repeat(8, 1).repeat(8, 2) + generator.normal(0, 4, (count, 32, 32, 3)), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("format", baselines.formats())
def test_picture_files_grow_and_improve_with_quality(format: baselines.Format) -> None:
    pictures = smooth(4)
    sizes, errors = [], []
    for quality in baselines.QUALITIES[format][::3]:
        files = baselines.picture_files(list(pictures), format, quality)
        sizes.append(sum(map(len, files)))
        errors.append(np.abs(baselines.read_pictures(files).astype(float) - pictures).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def noisy(count: int) -> list[NDArray[np.uint8]]:
    draws = np.random.default_rng(0).normal(99, 60, (count, 8, 8))
    return [np.clip(noise, 0, 255).astype(np.uint8) for noise in draws]


def test_bare_files_are_those_without_what_can_be_known_beforehand() -> None:
    """JPEG: one header with the tables of the standard. WebP: its 30 bytes but for the size of the first partition,
    and what follows where all pictures are coded alike."""
    pictures = noisy(300)
    for format, known in (("jpeg", range(328, 331)), ("webp", range(26, 40))):
        files = baselines.picture_files(pictures, format, 50, {"optimize": False} if format == "jpeg" else None)
        bare = baselines.bare_sizes(pictures, files, format, 50)
        assert {len(file) - size for file, size in zip(files, bare.tolist(), strict=True)} <= set(known), format


@pytest.mark.skipif("avif" not in baselines.formats(), reason="this Pillow writes no AVIF")
def test_a_bare_avif_file_is_what_lies_in_its_box_of_data_without_the_header_of_the_sequence() -> None:
    pictures = noisy(100)
    files = baselines.picture_files(pictures, "avif", 50)
    (front,) = {file.index(b"mdat") + 4 for file in files}
    bare = baselines.bare_sizes(pictures, files, "avif", 50)
    (known,) = {len(file) - size for file, size in zip(files, bare.tolist(), strict=True)}
    assert front <= known <= front + 24


@pytest.mark.parametrize("bits", baselines.BITS)
def test_few_bits_restore_within_half_a_step(bits: int) -> None:
    activation = np.random.default_rng(2).normal(size=(8, 7, 7)).astype(np.float32)
    payload, restored = baselines.quantised(activation, bits)
    step = np.ptp(activation) / ((1 << bits) - 1)
    assert np.abs(restored - activation).max() <= step / 2 * 1.001
    assert len(payload) < activation.size * bits / 8 + 30
