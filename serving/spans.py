"""What a tier's span tells of its part of a frame's way."""

from __future__ import annotations

from protocol.messages import Refusal, Result
from serving.passage import Passage
from transport.stream import Request
from transport.tracing import Facts


def facts_of(passage: Passage, request: Request, answer: Result | Refusal | None) -> Facts:
    """What became of a frame and what its time was spent on; seconds.

    Args:
        passage: the frame, as far as it came.
        request: how it came.
        answer: None where nobody wanted one any more.
    """
    frame = passage.frame
    facts: dict[str, str | int | float | bool] = {
        "sender": request.sender,
        "frame": frame.id,
        "bundle": frame.bundle.to_bytes(8, "little").hex(),
        "cut": frame.cut,
        "level": frame.level,
        "payload_bytes": len(frame.payload),
        "queue_s": passage.queue_s,
        "decode_s": passage.decode_s,
        "run_s": passage.run_s,
        "upstream_s": passage.upstream_s,
        "outcome": _outcome(answer),
    }
    if isinstance(answer, Result):
        facts["answered_by"] = answer.answered_by
    if passage.batch is not None:
        facts["batch_size"] = len(passage.batch.jobs)
    return facts


def _outcome(answer: Result | Refusal | None) -> str:
    if answer is None:
        return "cancelled"
    return "answered" if isinstance(answer, Result) else answer.code.name.lower()
