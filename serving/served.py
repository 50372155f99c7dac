"""One bundle as a tier serves it: what it accepts of a frame, and the steps that a frame goes through."""

from __future__ import annotations

from protocol.errors import Code
from protocol.messages import Frame, Handover
from runtime.bundle import Bundle
from runtime.codecs import Codecs, RawCodec
from runtime.codecs.parts import Parts, has_parts
from runtime.engines import Engine
from runtime.graphs import Graphs
from runtime.manifest import LearnedLevel
from runtime.stage import Stage
from runtime.streams import HEAD_BYTES
from serving.passage import Passage
from serving.scheduling.jobs import Path
from serving.steps import Decode, DecodeLearned, Encode, Run, Step


class Served:
    """Steps and paths of one bundle. What it makes may be used from several threads.

    Raises:
        BundleError: a file is damaged, or the engine cannot load it.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self.codecs = Codecs(bundle, engine)
        self.stage = Stage(bundle, engine)
        self._graphs = Graphs(bundle, engine)
        self._head_bytes = HEAD_BYTES if bundle.manifest.keeps_state else 0
        cuts = bundle.manifest.cuts
        self.runs = [Run(bundle, self.stage, segment) for segment in range(len(cuts))]
        self._encodes = {
            (cut.index, level): Encode(bundle, self.codecs, cut.index, level)
            for cut in cuts
            for level in range(len(cut.levels))
        }
        self._decodes: dict[tuple[int, int], Step] = {}
        for cut in cuts:
            self._decodes |= self._decoding(cut.index)
        self._paths: dict[tuple[int, int | None, Handover | None], Path] = {}
        self._fronts: dict[tuple[int, int], Decode] = {}
        self._paths_of_fronts: dict[tuple[int, int, Handover | None], Path] = {}

    def fault(self, frame: Frame) -> tuple[Code, str] | None:
        """What is wrong with a frame by the manifest alone, before anything is allocated for it."""
        cuts = self.bundle.manifest.cuts
        if frame.cut >= len(cuts):
            return Code.UNKNOWN_CUT, f"there is no cut {frame.cut}; the bundle has cuts 0 to {len(cuts) - 1}"
        cut = cuts[frame.cut]
        if frame.level >= len(cut.levels):
            return Code.UNKNOWN_CUT, f"cut {frame.cut} has levels 0 to {len(cut.levels) - 1}, not {frame.level}"
        if frame.shape != cut.tensor.shape:
            return Code.WRONG_SHAPE, f"cut {frame.cut} carries {list(cut.tensor.shape)}, not {list(frame.shape)}"
        bound = self.codecs.at(frame.cut, frame.level).max_payload_bytes + self._head_bytes
        if len(frame.payload) > bound:
            detail = f"{len(frame.payload)} bytes are more than the {bound} of cut {frame.cut} level {frame.level}"
            return Code.TOO_LONG, detail
        if frame.is_front and not has_parts(self.codecs.at(frame.cut, frame.level)):
            return Code.UNDECODABLE, f"a payload of cut {frame.cut} level {frame.level} is of no use without its end"
        return self._fault_of_handover(frame)

    def decode_raw(self, passage: Passage) -> None:
        """Give a frame of raw bytes its activation, a view of them: too little work for a thread.

        Raises:
            UndecodablePayload: not exactly the tensor's bytes.
        """
        codec = self.codecs.at(passage.frame.cut, passage.frame.level)
        if isinstance(codec, RawCodec):
            passage.activation = codec.decode(passage.frame.payload)

    def stored(self, frame: Frame) -> int | None:
        """The level that a frame still has to be decoded from; None where its payload is the activation's bytes."""
        codec = self.codecs.at(frame.cut, frame.level)
        return None if isinstance(codec, RawCodec) else frame.level

    def path(self, passage: Passage, handover: Handover | None = None) -> Path:
        """What is to be done to finish a frame from where it stands, or to make a handover's payload."""
        if passage.activation is None and passage.frame.is_front:
            return self._of_front(passage.cut, passage.frame.level, handover)
        return self.between(passage.cut, passage.frame.level if passage.activation is None else None, handover)

    def between(self, cut: int, level: int | None, handover: Handover | None = None) -> Path:
        """What is to be done from a cut on, for a payload of a level or, with None, an activation: to the end, or to a
        handover's payload."""
        key = (cut, level, handover)
        found = self._paths.get(key)
        if found is None:
            found = self._paths[key] = self._path(*key)
        return found

    def decoding(self, cut: int, level: int) -> Step:
        """The step that decodes frames of a level."""
        return self._decodes[cut, level]

    def steps(self) -> list[tuple[int, Step]]:
        """Every step of the bundle once, with a cut at which its frames stand."""
        decodes = {step: cut for (cut, _), step in self._decodes.items()}
        encodes = [(cut, step) for (cut, _), step in self._encodes.items()]
        return [*((cut, step) for step, cut in decodes.items()), *enumerate(self.runs), *encodes]

    def _decoding(self, cut: int) -> dict[tuple[int, int], Step]:
        """By cut and level; learned levels of one decoder share a step."""
        made: dict[tuple[int, int], Step] = {}
        shared: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        levels = self.bundle.manifest.cuts[cut].levels
        for number, level in enumerate(levels):
            if isinstance(level, LearnedLevel):
                shared.setdefault((level.decoder, level.latent.shape), []).append(number)
            else:
                decode = self.codecs.at(cut, number).decode
                made[cut, number] = Decode(self.bundle, decode, f"cut {cut} level {number}")
        for (decoder, _), numbers in shared.items():
            declared = levels[numbers[0]]
            assert isinstance(declared, LearnedLevel)
            graph = self._graphs.at(decoder, declared.data)
            step = DecodeLearned(self.bundle, self.codecs, graph, cut, numbers)
            made |= {(cut, number): step for number in numbers}
        return made

    def _of_front(self, cut: int, level: int, handover: Handover | None) -> Path:
        """The same for a payload that was cut short: first of all it is decoded, by itself."""
        key = (cut, level, handover)
        if key not in self._paths_of_fronts:
            decode = self._decoding_fronts(cut, level)
            self._paths_of_fronts[key] = Path(decode, *self.between(cut, None, handover).steps)
        return self._paths_of_fronts[key]

    def _decoding_fronts(self, cut: int, level: int) -> Step:
        """Symbol by symbol, so a step with a cost of its own; without the view: people look at whole payloads."""
        if (cut, level) not in self._fronts:
            codec = self.codecs.at(cut, level)
            assert has_parts(codec), "frames of other levels are refused"
            decode = Parts(codec).front
            self._fronts[cut, level] = Decode(self.bundle, decode, f"fronts of cut {cut} level {level}")
        return self._fronts[cut, level]

    def _path(self, cut: int, level: int | None, handover: Handover | None) -> Path:
        decode = () if level is None else (self._decodes[cut, level],)
        if handover is None:
            return Path(*decode, *self.runs[cut:])
        return Path(*decode, *self.runs[cut : handover.cut], self._encodes[handover.cut, handover.level])

    def _fault_of_handover(self, frame: Frame) -> tuple[Code, str] | None:
        handover, cuts = frame.handover, self.bundle.manifest.cuts
        if handover is None:
            return None
        if not frame.cut <= handover.cut < len(cuts):
            detail = f"a handover from cut {frame.cut} is to cuts {frame.cut} to {len(cuts) - 1}, not {handover.cut}"
            return Code.UNKNOWN_CUT, detail
        levels = len(cuts[handover.cut].levels)
        if handover.level >= levels:
            return Code.UNKNOWN_CUT, f"cut {handover.cut} has levels 0 to {levels - 1}, not {handover.level}"
        return None
