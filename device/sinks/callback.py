"""Answers to a function of the Python program that runs the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from device.sinks.sink import Delivery


class Callback:
    """Calls a function with each answer, in the sink's thread.

    The function may raise `SinkError`: the answers are offered again. Anything else that it raises is a bug of that
    program; it is reported as any thread's is, and this sink takes no more answers.
    """

    def __init__(self, function: Callable[[Delivery], None]) -> None:
        self._function = function

    def put(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._function(delivery)

    def close(self) -> None:
        """The function is its owner's."""
