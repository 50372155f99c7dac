"""A sink that is opened when it is first needed, and again when that failed: a disk that is full now has room later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from device.sinks.sink import Delivery, Sink


class Opened:
    """Opens at the first delivery; an error then is one of that attempt, and the next attempt opens again.

    Args:
        make: opens the sink; may raise `SinkError`.
    """

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._make = make
        self._sink: Sink | None = None

    def put(self, deliveries: Sequence[Delivery]) -> None:
        if self._sink is None:
            self._sink = self._make()
        self._sink.put(deliveries)

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()
