"""Where an edge hands frames over when it may choose, on links of known rates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adaptation.snapshot import LinkEstimate
from protocol.messages import Frame, Handover, Hello, Result, Timings
from runtime.bundle import MANIFEST_NAME, Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stretch import Stretch
from serving.relaying.relay import Relay
from serving.relaying.upstreams import Upstreams
from serving.served import Served
from serving.upstream import Upstream
from serving.warming import warm
from serving.workers import Workers
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.relaying.links import sure
from transport.settings import Dial

TAIL_S = 0.2
"""What the last segment costs here; above it costs a hundredth of that."""


class Known(Upstream):
    """A tier above that could be asked, over a link that is known exactly."""

    belief: LinkEstimate

    @property
    def ready(self) -> bool:
        return True

    def link(self) -> LinkEstimate:
        return self.belief


@dataclass(frozen=True)
class Scene:
    served: Served
    above: Known
    workers: Workers
    now_s: list[float]

    def relay(self, rate_bps: float, loss: float = 1.0) -> Relay:
        """With a link of this rate, and a tier above that has shown how quick it is, and was asked a moment ago."""
        self.above.belief = sure(rate_bps)
        self.now_s[0] += 100.0
        made = Relay(Upstreams([self.above]), self.workers, lambda: self.now_s[0], accuracy_loss=loss)
        for _ in range(100):
            made.answered(self.served, self.raw(2), Result(1, (), "cloud", Timings(run_us=round(1e6 * TAIL_S / 100))))
        made.choose(self.frame(2), self.served, self.raw(2))
        self.now_s[0] += 0.5
        return made

    def raw(self, cut: int) -> Handover:
        levels = [level.codec for level in self.served.bundle.manifest.cuts[cut].levels]
        return Handover(cut, levels.index("raw"))

    def frame(self, cut: int) -> Frame:
        """A frame of raw bytes."""
        spec = self.served.bundle.manifest.cuts[cut].tensor
        level = self.raw(cut).level
        return Frame.build(id=1, bundle=0, cut=cut, level=level, shape=spec.shape, payload=bytes(spec.nbytes))


@pytest.fixture(scope="module")
def scene(tiny_bundle: TinyBundle) -> Iterator[Scene]:
    """The tiny model, of which the last segment takes long."""
    with Bundle.open(tiny_bundle.path) as bundle:
        served, workers = Served(bundle, OnnxRuntimeEngine()), Workers(1, 8, time.monotonic)
        warm(served, workers.scheduler.costs, Stretch())
        for _ in range(200):
            workers.scheduler.costs.learn(served.runs[2], 1, TAIL_S)
        yield Scene(served, Known(Dial(target="127.0.0.1:1"), Hello("edge")), workers, [0.0])


def test_raw_features_go_up_as_they_came_over_a_fast_link(scene: Scene) -> None:
    assert scene.relay(1e9).choose(scene.frame(1), scene.served, scene.raw(1)) == scene.raw(1)


def test_they_are_encoded_anew_for_a_slow_link_at_a_level_that_takes_least(scene: Scene) -> None:
    chosen = scene.relay(2e5).choose(scene.frame(1), scene.served, scene.raw(1))
    assert chosen is not None
    cuts = scene.served.bundle.manifest.cuts
    sizes = {
        (cut.index, place): level.measured.payload_bytes
        for cut in cuts[1:]
        for place, level in enumerate(cut.levels)
        if level.measured is not None
    }
    assert sizes[chosen.cut, chosen.level] == min(sizes.values())


def test_nothing_is_encoded_with_more_loss_than_allowed(scene: Scene) -> None:
    manifest = scene.served.bundle.manifest
    assert manifest.measured is not None
    for loss in (0.0, 0.1, 0.3, 1.0):
        chosen = scene.relay(2e5, loss).choose(scene.frame(1), scene.served, scene.raw(1))
        assert chosen is not None
        measured = manifest.cuts[chosen.cut].levels[chosen.level].measured
        assert measured is not None
        assert measured.accuracy >= manifest.measured.accuracy - loss


def test_a_frame_is_finished_here_where_the_link_would_take_longer_than_the_work(scene: Scene) -> None:
    assert scene.relay(1e3).choose(scene.frame(2), scene.served, scene.raw(2)) is None


def test_what_is_above_is_tried_again_after_a_while_however_slow_it_seemed(scene: Scene) -> None:
    relay = scene.relay(1e3)
    scene.now_s[0] += 2.0
    assert relay.choose(scene.frame(2), scene.served, scene.raw(2)) is not None
    scene.now_s[0] += 0.1
    assert relay.choose(scene.frame(2), scene.served, scene.raw(2)) is None


def test_a_decision_follows_what_payloads_really_are(scene: Scene) -> None:
    """Every level but the one asked for is seen to be long: so it stays at that."""
    relay, frame, asked = scene.relay(2e5), scene.frame(1), Handover(2, 0)
    for cut in scene.served.bundle.manifest.cuts[1:]:
        for level in range(len(cut.levels)):
            size = 10 if (cut.index, level) == (2, 0) else 100_000
            relay.encoded(frame, Handover(cut.index, level), size)
    assert relay.choose(frame, scene.served, asked) == asked


def test_levels_that_nobody_measured_are_not_chosen(scene: Scene, tmp_path: Path) -> None:
    source = scene.served.bundle
    target = tmp_path / "unmeasured"
    target.mkdir()
    for file in source.path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    cuts = tuple(
        cut.model_copy(update={"levels": tuple(level.model_copy(update={"measured": None}) for level in cut.levels)})
        for cut in source.manifest.cuts
    )
    (target / MANIFEST_NAME).write_bytes(source.manifest.model_copy(update={"cuts": cuts}).to_bytes())
    with Bundle.open(target) as bundle:
        other = Scene(Served(bundle, OnnxRuntimeEngine()), scene.above, scene.workers, scene.now_s)
        warm(other.served, scene.workers.scheduler.costs, Stretch())
        for _ in range(200):
            scene.workers.scheduler.costs.learn(other.served.runs[2], 1, TAIL_S)
        chosen = other.relay(2e5).choose(other.frame(1), other.served, other.raw(1))
    assert chosen is None or bundle.manifest.cuts[chosen.cut].levels[chosen.level].codec in ("raw", "zstd")
