"""What a worker does: whole batches of frames of mixed cuts, from their payloads to the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protocol.errors import IsthmusError
from protocol.messages import Frame
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.errors import BundleInvalid, UndecodablePayload
from runtime.stretch import Stretch
from serving.cluster.messages import Answer, Asked, Done, Failed
from serving.passage import Passage
from serving.scheduling.costs import Costs
from serving.served import Served
from serving.steps import Step
from serving.warming import warm
from serving.workers import each_if_not_all


class Tail:
    """Bundles opened, verified and warmed on one machine. Keeps nothing between batches.

    Args:
        bundles: path on this machine and digest of each; the digest is that of the tier, which has verified the bundle
            by its maker's signature.
        engine: name of the engine.
        threads: of one run.
        slowdown: see `Stretch`.

    Raises:
        BundleError: a bundle is missing, damaged, or another one than the tier's.
        SettingsError: the engine is not installed on this machine.
    """

    def __init__(self, bundles: Sequence[tuple[Path, bytes]], engine: str, threads: int, slowdown: float = 1.0) -> None:
        running = engine_named(engine, threads)
        self._costs = Costs()
        self._stretch = Stretch(slowdown)
        self._served: dict[int, Served] = {}
        for path, digest in bundles:
            bundle = Bundle.open(path)
            bundle.verify_all()
            if bundle.digest != digest:
                raise BundleInvalid(
                    f"bundle {str(path)!r} on this machine has digest {bundle.digest.hex()[:16]}, the tier's has "
                    f"{digest.hex()[:16]}; give every machine of the cluster the same bundle"
                )
            served = self._served[bundle.tag] = Served(bundle, running)
            warm(served, self._costs, Stretch())

    def __call__(self, tag: int, batch: Sequence[Asked]) -> list[Answer]:
        """Answer a batch of one bundle, frame by frame in its order.

        Frames are decoded together where their levels share a decoder; those of early cuts catch up with those of later
        ones, and go through the rest of the segments with them.
        """
        return self._stretch.call(self._answered, self._served[tag], batch)

    def _answered(self, served: Served, batch: Sequence[Asked]) -> list[Answer]:
        passages = [_passage(served, asked) for asked in batch]
        faults: dict[Passage, IsthmusError] = {}
        decoding: dict[Step, list[Passage]] = {}
        for passage in passages:
            if passage.activation is None:
                decoding.setdefault(served.decoding(passage.cut, passage.frame.level), []).append(passage)
        for step, group in decoding.items():
            faults |= self._done(step, group)
        for segment, run in enumerate(served.runs):
            group = [passage for passage in passages if passage.cut == segment and passage not in faults]
            faults |= self._done(run, group)
        return [_answer(passage, faults.get(passage)) for passage in passages]

    def _done(self, step: Step, group: Sequence[Passage]) -> dict[Passage, IsthmusError]:
        """Do a step for all: together, or one by one where its graph cannot be batched."""
        size = 1 if self._costs.of(step).single_only else max(1, len(group))
        faults: dict[Passage, IsthmusError] = {}
        for begin in range(0, len(group), size):
            faults |= each_if_not_all(step, list(group[begin : begin + size]))
        return faults


def _passage(served: Served, asked: Asked) -> Passage:
    shape = served.bundle.manifest.cuts[asked.cut].tensor.shape
    frame = Frame.build(
        id=1, bundle=served.bundle.tag, cut=asked.cut, level=asked.level, shape=shape, payload=asked.payload
    )
    return Passage(frame, 0.0, 0.0, asked.cut, asked.activation, states=dict(asked.states))


def _answer(passage: Passage, fault: IsthmusError | None) -> Answer:
    if fault is None:
        return Done(passage.outputs, passage.states)
    return Failed(isinstance(fault, UndecodablePayload), str(fault))
