"""Why an inference request is refused: one kind for each pair of an HTTP status and a gRPC status.

ServingError                      serving.errors
├── OipUnusable                   a port of this protocol cannot be bound (exit code 4)
└── RequestRefused                the request gets no answer; the caller is told why
"""

from __future__ import annotations

from enum import Enum

import grpc

from serving.errors import ServingError


class Reason(Enum):
    """HTTP status and gRPC status of a refusal."""

    INVALID = (400, grpc.StatusCode.INVALID_ARGUMENT)
    FORBIDDEN = (403, grpc.StatusCode.PERMISSION_DENIED)
    NOT_FOUND = (404, grpc.StatusCode.NOT_FOUND)
    TOO_LARGE = (413, grpc.StatusCode.RESOURCE_EXHAUSTED)
    ENCODED = (415, grpc.StatusCode.INVALID_ARGUMENT)
    INTERNAL = (500, grpc.StatusCode.INTERNAL)
    UNSUPPORTED = (501, grpc.StatusCode.UNIMPLEMENTED)
    OVERLOADED = (503, grpc.StatusCode.RESOURCE_EXHAUSTED)
    DRAINING = (503, grpc.StatusCode.UNAVAILABLE)
    EXPIRED = (504, grpc.StatusCode.DEADLINE_EXCEEDED)

    @property
    def http(self) -> int:
        """The status of a REST answer."""
        return self.value[0]

    @property
    def grpc(self) -> grpc.StatusCode:
        """The status of a gRPC answer."""
        return self.value[1]


class OipUnusable(ServingError):
    """A port of this protocol cannot be bound. For a person to read."""

    exit_code = 4

    def __init__(self, key: str, host: str, port: int, reason: str) -> None:
        super().__init__(f"{key} cannot listen on {host} port {port}: {reason}; set {key}.host and {key}.port")


class RequestRefused(ServingError):
    """A request gets no answer. The sentence goes to the caller.

    Attributes:
        reason: what kind of refusal it is.
        retry_after_s: when a request like it might be taken; 0 where that is not known.
    """

    def __init__(self, reason: Reason, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after_s = retry_after_s


def invalid(detail: str) -> RequestRefused:
    """The request itself is wrong."""
    return RequestRefused(Reason.INVALID, detail)
