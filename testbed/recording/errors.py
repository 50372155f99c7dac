"""What a history can lack."""

from __future__ import annotations

from testbed.errors import TestbedError


class RecordingError(TestbedError):
    """A history says too little about link or device; the sentence says what is missing. For a person to read."""

    exit_code = 6
