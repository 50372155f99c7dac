"""Ten measured segments and a prior from known machines: seconds of all others, in the right order.

The machines of these tests keep a law that the predictor does not know: the slower of computing and moving bytes (the
roofline), with its own noise on every segment. What real engines do: benchmarks/predictor.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from partitioner.profiling.machine import SegmentFigures, Timing
from partitioner.profiling.predictor import BROAD, Prior, adapt, learn, representative

RANDOM = np.random.default_rng(0)
MACS = 10 ** RANDOM.uniform(5.5, 8.5, 120)
MOVED = 10 ** RANDOM.uniform(4, 6.5, 120)
WEIGHTS = 10 ** RANDOM.uniform(2, 6, 120)


def seconds(macs_per_s: float, bytes_per_s: float, call_s: float, noise: float = 0.08) -> np.ndarray:
    clean = np.maximum(MACS / macs_per_s, (MOVED + WEIGHTS) / bytes_per_s) + call_s
    return np.asarray(clean * np.exp(RANDOM.normal(0, noise, len(MACS))))


REFERENCE = seconds(2e10, 5e9, 1e-5)


def machine(times: np.ndarray) -> list[SegmentFigures]:
    return [
        SegmentFigures(
            after=str(number),
            macs_before=0,
            macs=int(MACS[number]),
            weight_bytes=int(WEIGHTS[number]),
            input_bytes=int(MOVED[number]),
            output_bytes=0,
            time=Timing(median_s=float(times[number])),
            reference_s=float(REFERENCE[number]),
        )
        for number in range(len(times))
    ]


KNOWN = [machine(seconds(*law)) for law in ((1e10, 3e9, 2e-5), (4e10, 5e9, 2e-5), (5e9, 4e9, 1e-4))]


@pytest.mark.parametrize("law", [(2e9, 1e9, 1e-4), (8e10, 6e9, 3e-5), (1e10, 2e9, 1e-5)])
def test_ten_segments_put_the_others_in_order(law: tuple[float, float, float]) -> None:
    segments = machine(seconds(*law))
    chosen = representative(segments, 10)
    assert len(chosen) == 10
    rest = [segment for place, segment in enumerate(segments) if place not in chosen]
    predicted = adapt([segments[place] for place in chosen], learn(KNOWN)).seconds(rest)
    true = [segment.time.median_s for segment in rest]
    assert spearmanr(predicted, true).statistic >= 0.95
    assert np.median(np.abs(np.array(predicted) / true - 1)) <= 0.25


def test_one_segment_gives_the_scale() -> None:
    slow = machine(20 * REFERENCE)
    predicted = adapt(slow[:1], Prior(BROAD.mean, (2.0, 0.1, 0.1, 0.1, 0.1))).seconds(slow)
    assert np.median(np.array(predicted) / (20 * REFERENCE)) == pytest.approx(1.0, rel=0.3)


def test_measurements_that_exceed_all_others_do_not_decide() -> None:
    clean = machine(3 * REFERENCE)
    chosen = representative(clean, 10)
    disturbed = [clean[place] for place in chosen]
    disturbed[4] = disturbed[4].model_copy(update={"time": Timing(median_s=100 * disturbed[4].time.median_s)})
    predicted = np.array(adapt(disturbed, learn(KNOWN)).seconds(clean))
    assert np.median(np.abs(predicted / (3 * REFERENCE) - 1)) <= 0.2


def test_predictions_add_up() -> None:
    segments = machine(seconds(1e10, 2e9, 1e-5))
    predictor = adapt(segments[:10])
    a, b = segments[20], segments[21]
    both = a.model_copy(
        update={
            "macs": a.macs + b.macs,
            "weight_bytes": a.weight_bytes + b.weight_bytes,
            "input_bytes": a.input_bytes + b.input_bytes,
            "reference_s": (a.reference_s or 0.0) + (b.reference_s or 0.0),
        }
    )
    one_call = predictor.coefficients[-1] * 1e-5
    assert predictor.seconds([both])[0] + one_call == pytest.approx(sum(predictor.seconds([a, b])))


def test_a_segment_without_a_reference_is_refused() -> None:
    bare = machine(REFERENCE)[0].model_copy(update={"reference_s": None})
    with pytest.raises(ValueError, match="reference"):
        adapt([bare])
