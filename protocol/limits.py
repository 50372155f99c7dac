"""Bounds on everything a peer may send. Checked before anything is allocated for it; documented in docs/wire.md."""

from __future__ import annotations

from typing import Final

VERSION: Final = 2
"""The highest protocol version this code speaks."""
MIN_VERSION: Final = 1
"""The lowest protocol version this code still speaks."""
CHUNKS_VERSION: Final = 2
"""The first version with frames in chunks."""

MAX_MESSAGE_BYTES: Final = 8 << 20
"""One protobuf message: also what gRPC is told to accept."""
MAX_PAYLOAD_BYTES: Final = MAX_MESSAGE_BYTES - (64 << 10)
"""The payload of one frame; the rest of the message is left to its header."""
MAX_HELLO_BYTES: Final = 16 << 10
"""The first message of a stream, while the peer is still unknown."""
MAX_PACKED: Final = 64
"""Messages in one pack."""
PACK_BYTES: Final = 64 << 10
"""What a sender puts into one pack; one longer message goes alone."""
MAX_PARTED: Final = 16
"""Frames of one stream of which some chunks have come and some have not."""

MAX_BUNDLES_IN_HELLO: Final = 64
DIGEST_BYTES: Final = 32
TRACE_BYTES: Final = 24
MAX_NAME_LENGTH: Final = 64
"""Characters of a sender's or tier's name."""
MAX_TENSOR_NAME_LENGTH: Final = 256
MAX_DETAIL_LENGTH: Final = 256
"""Characters of a refusal's sentence; longer ones are cut, not refused."""

MAX_RANK: Final = 8
MAX_DIMENSION: Final = 1 << 20
MAX_ELEMENTS: Final = 1 << 26
"""Elements of one activation."""
MAX_OUTPUTS: Final = 64
"""Tensors in one result."""
MAX_FILLER_BYTES: Final = 4096
"""What a probe may carry along to be as long as a frame."""
MAX_CREDITS: Final = 4096
"""Frames that may be unanswered on one stream."""
