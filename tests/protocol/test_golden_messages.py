"""Messages written once and kept: this version's bytes are read for ever, and mean what they meant.

`python -m tests.protocol.test_golden_messages` writes files that are missing; those that exist are never written again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.chunks import Chunk, Front
from protocol.errors import Code
from protocol.messages import (
    Cancel,
    Downward,
    Frame,
    Hello,
    Load,
    Probe,
    Received,
    Refusal,
    Result,
    Tensor,
    Timings,
    Upward,
    Welcome,
    decode_downward,
    decode_upward,
    encode_downward,
    encode_upward,
)
from protocol.packing import pack, unpack
from tests.protocol.samples import DIGEST, frame

GOLDEN = Path(__file__).with_name("golden") / "messages"
LONG = bytes(range(256)) * 40
UPWARD: dict[str, Upward] = {
    "hello": Hello("camera-1", (DIGEST, bytes(range(32))), version=1),
    "frame": frame(),
    "frame_least": Frame.build(id=1, bundle=0, cut=0, level=0, shape=(), payload=b""),
    "frame_long": frame(2**64 - 1, LONG),
    "cancel": Cancel(7),
    "probe_up": Probe(2**63),
}
SINCE_2: dict[str, Upward] = {
    "hello_2": Hello("camera-1", (DIGEST,), version=2),
    "chunk": Chunk(7, 300, 100, bytes(range(100))),
    "chunk_last": Chunk(2**64 - 1, 8 << 20, (8 << 20) - len(LONG), LONG, 2**32 - 1),
    "probe_filled": Probe(5, bytes(range(100))),
    "front": Front(7, 300, 0x12345678, 2**32 - 1),
}
DOWNWARD: dict[str, Downward] = {
    "welcome": Welcome("edge", (DIGEST,), 32, load=Load(3, 1500), version=1),
    "result": Result(
        7, (Tensor("logits", "float32", (2,), bytes(range(8))),), "cloud", Timings(1, 2, 3, 4, 10), Load(1, 2)
    ),
    "result_empty": Result(1, (), "edge"),
    "result_long": Result(2, (Tensor("a", "uint8", (len(LONG),), LONG), Tensor("b", "int64", (0,), b"")), "edge"),
    "refusal": Refusal(7, Code.OVERLOADED, "too many frames wait", 5000, Load(64, 5000)),
    "refusal_of_stream": Refusal(0, Code.DRAINING, "use another"),
    "probe_down": Probe(9),
    "welcome_2": Welcome("cloud", (), 1, 1000, version=2),
    "received": Received(2**40),
    "welcome_fronts": Welcome("edge", (DIGEST,), 32, takes_fronts=True),
    "result_arrived": Result(7, (), "edge", Timings(1, 2, 3, 4, 10, 2**32 - 1)),
}


@pytest.mark.parametrize("name", [*UPWARD, *SINCE_2, *DOWNWARD])
def test_golden_messages_are_read_as_what_they_were(name: str) -> None:
    kept = (GOLDEN / f"{name}.bin").read_bytes()
    upward = UPWARD | SINCE_2
    if name in upward:
        assert decode_upward(kept) == upward[name]
        assert decode_upward(encode_upward(upward[name])) == upward[name]
    else:
        assert decode_downward(kept) == DOWNWARD[name]
        assert decode_downward(encode_downward(DOWNWARD[name])) == DOWNWARD[name]


def test_the_golden_pack_holds_the_golden_messages() -> None:
    kept = (GOLDEN / "pack_up.bin").read_bytes()
    assert [decode_upward(message) for message in unpack(kept)] == list(UPWARD.values())


def test_every_golden_file_is_tested() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*UPWARD, *SINCE_2, *DOWNWARD, "pack_up"}


def _write(name: str, make: Callable[[], bytes]) -> None:
    path = GOLDEN / f"{name}.bin"
    if not path.exists():
        path.write_bytes(make())


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for key, up in (UPWARD | SINCE_2).items():
        _write(key, lambda up=up: encode_upward(up))  # type: ignore[misc]
    for key, down in DOWNWARD.items():
        _write(key, lambda down=down: encode_downward(down))  # type: ignore[misc]
    _write("pack_up", lambda: pack([encode_upward(up) for up in UPWARD.values()]))
