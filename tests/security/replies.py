"""What a tier may let a stranger know."""

from __future__ import annotations

import re
from typing import Any

from protocol.limits import MAX_DETAIL_LENGTH
from protocol.messages import Refusal

_INTERNAL = re.compile(
    r"/|\\|\.py|0x[0-9a-f]|Traceback|Error\b|Exception|object at|<class|\b(protocol|runtime|serving|transport)\.|"
    r"onnx|numpy|pillow|PIL|protobuf|grpc|\bline \d",
    re.IGNORECASE,
)


def assert_says_little(refusal: Any) -> None:
    """One short sentence without paths, addresses in memory, or names of modules and libraries."""
    assert isinstance(refusal, Refusal), refusal
    assert 0 < len(refusal.detail) <= MAX_DETAIL_LENGTH
    assert refusal.detail.isprintable()
    found = _INTERNAL.search(refusal.detail)
    assert found is None, f"{found[0]!r} in {refusal.detail!r}"
