from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODE_UNSPECIFIED: _ClassVar[Code]
    MALFORMED: _ClassVar[Code]
    VERSION: _ClassVar[Code]
    UNKNOWN_BUNDLE: _ClassVar[Code]
    UNKNOWN_CUT: _ClassVar[Code]
    WRONG_SHAPE: _ClassVar[Code]
    TOO_LONG: _ClassVar[Code]
    CHECKSUM: _ClassVar[Code]
    UNDECODABLE: _ClassVar[Code]
    EXPIRED: _ClassVar[Code]
    OVERLOADED: _ClassVar[Code]
    UPSTREAM: _ClassVar[Code]
    DRAINING: _ClassVar[Code]
    INTERNAL: _ClassVar[Code]
    FORBIDDEN: _ClassVar[Code]
CODE_UNSPECIFIED: Code
MALFORMED: Code
VERSION: Code
UNKNOWN_BUNDLE: Code
UNKNOWN_CUT: Code
WRONG_SHAPE: Code
TOO_LONG: Code
CHECKSUM: Code
UNDECODABLE: Code
EXPIRED: Code
OVERLOADED: Code
UPSTREAM: Code
DRAINING: Code
INTERNAL: Code
FORBIDDEN: Code

class Upward(_message.Message):
    __slots__ = ("hello", "frame", "cancel", "probe", "pack", "chunk", "front")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FRONT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    frame: Frame
    cancel: Cancel
    probe: Probe
    pack: Pack
    chunk: Chunk
    front: Front
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., pack: _Optional[_Union[Pack, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., front: _Optional[_Union[Front, _Mapping]] = ...) -> None: ...

class Downward(_message.Message):
    __slots__ = ("welcome", "result", "refusal", "probe", "pack", "received")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    result: Result
    refusal: Refusal
    probe: Probe
    pack: Pack
    received: Received
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., pack: _Optional[_Union[Pack, _Mapping]] = ..., received: _Optional[_Union[Received, _Mapping]] = ...) -> None: ...

class Pack(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, messages: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("id", "total", "offset", "waited_us", "data")
    ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WAITED_US_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    id: int
    total: int
    offset: int
    waited_us: int
    data: bytes
    def __init__(self, id: _Optional[int] = ..., total: _Optional[int] = ..., offset: _Optional[int] = ..., waited_us: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Front(_message.Message):
    __slots__ = ("id", "bytes", "crc32c", "waited_us")
    ID_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    WAITED_US_FIELD_NUMBER: _ClassVar[int]
    id: int
    bytes: int
    crc32c: int
    waited_us: int
    def __init__(self, id: _Optional[int] = ..., bytes: _Optional[int] = ..., crc32c: _Optional[int] = ..., waited_us: _Optional[int] = ...) -> None: ...

class Received(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version", "sender", "bundles")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    version: int
    sender: str
    bundles: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, version: _Optional[int] = ..., sender: _Optional[str] = ..., bundles: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("version", "tier", "bundles", "credits", "max_payload_bytes", "load", "takes_fronts")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    TAKES_FRONTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    tier: str
    bundles: _containers.RepeatedScalarFieldContainer[bytes]
    credits: int
    max_payload_bytes: int
    load: Load
    takes_fronts: bool
    def __init__(self, version: _Optional[int] = ..., tier: _Optional[str] = ..., bundles: _Optional[_Iterable[bytes]] = ..., credits: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., takes_fronts: _Optional[bool] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("id", "bundle", "cut", "level", "shape", "payload", "crc32c", "captured_us", "remaining_us", "handover", "trace")
    ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_US_FIELD_NUMBER: _ClassVar[int]
    REMAINING_US_FIELD_NUMBER: _ClassVar[int]
    HANDOVER_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    id: int
    bundle: int
    cut: int
    level: int
    shape: _containers.RepeatedScalarFieldContainer[int]
    payload: bytes
    crc32c: int
    captured_us: int
    remaining_us: int
    handover: Handover
    trace: bytes
    def __init__(self, id: _Optional[int] = ..., bundle: _Optional[int] = ..., cut: _Optional[int] = ..., level: _Optional[int] = ..., shape: _Optional[_Iterable[int]] = ..., payload: _Optional[bytes] = ..., crc32c: _Optional[int] = ..., captured_us: _Optional[int] = ..., remaining_us: _Optional[int] = ..., handover: _Optional[_Union[Handover, _Mapping]] = ..., trace: _Optional[bytes] = ...) -> None: ...

class Handover(_message.Message):
    __slots__ = ("cut", "level")
    CUT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    cut: int
    level: int
    def __init__(self, cut: _Optional[int] = ..., level: _Optional[int] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_us", "decode_us", "run_us", "upstream_us", "total_us", "arrived_us")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    RUN_US_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_US_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    decode_us: int
    run_us: int
    upstream_us: int
    total_us: int
    arrived_us: int
    def __init__(self, queue_us: _Optional[int] = ..., decode_us: _Optional[int] = ..., run_us: _Optional[int] = ..., upstream_us: _Optional[int] = ..., total_us: _Optional[int] = ..., arrived_us: _Optional[int] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("queued", "wait_us")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    WAIT_US_FIELD_NUMBER: _ClassVar[int]
    queued: int
    wait_us: int
    def __init__(self, queued: _Optional[int] = ..., wait_us: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "outputs", "answered_by", "timings", "load")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_BY_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    answered_by: str
    timings: Timings
    load: Load
    def __init__(self, id: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., answered_by: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("id", "filler")
    ID_FIELD_NUMBER: _ClassVar[int]
    FILLER_FIELD_NUMBER: _ClassVar[int]
    id: int
    filler: bytes
    def __init__(self, id: _Optional[int] = ..., filler: _Optional[bytes] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("id", "code", "detail", "retry_after_us", "load")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_US_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: Code
    detail: str
    retry_after_us: int
    load: Load
    def __init__(self, id: _Optional[int] = ..., code: _Optional[_Union[Code, str]] = ..., detail: _Optional[str] = ..., retry_after_us: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ...) -> None: ...

class EnrolRequest(_message.Message):
    __slots__ = ("secret", "request")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    secret: bytes
    request: bytes
    def __init__(self, secret: _Optional[bytes] = ..., request: _Optional[bytes] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ...) -> None: ...
