"""Errors of the device agent.

IsthmusError                  protocol.errors
└── DeviceError               base of this room
    ├── SourceError           the source has nothing to give, or cannot be opened (exit code 2)
    ├── PlanError             a fixed choice, or all choices, are not in the bundle (exit code 2)
    ├── FilterError           a learned filter cannot be read, or is for another bundle; frames go unfiltered
    ├── UnfitBundle           a new bundle breaks a rule or a promise; the one in force stays
    ├── SinkError             answers cannot be handed over now; they are kept and tried again
    ├── StreamBroken          no tier goes on with a stream of frames that depend on each other
    ├── SpoolError            the spool cannot be opened, read or written (exit code 2)
    │   └── SpoolFull         nothing of less value can make room
    └── HistoryError          the history cannot be written (exit code 2)
        └── EndedTwice        a frame's end was reported again, or it never began: a bug of the agent
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class DeviceError(IsthmusError):
    """Base of all errors of this room."""


class SourceError(DeviceError):
    """The source cannot be opened or holds no usable item. For a person to read."""

    exit_code = 2


class PlanError(DeviceError):
    """What the settings ask for is not among what the bundle and the tiers offer. For a person to read."""

    exit_code = 2


class FilterError(DeviceError):
    """A filter's file is of no use here. The agent sends what it would have filtered, and says so."""

    exit_code = 2


class UnfitBundle(DeviceError):
    """A candidate is not what this device needs, or not what it promises. The bundle in force stays."""

    exit_code = 3


class SinkError(DeviceError):
    """A sink does not take answers now. The outlet keeps them and tries again; at the start, for a person to read."""

    exit_code = 2


class StreamBroken(DeviceError):
    """A stream of frames that depend on each other gets no answer. Its owner may go on with it later, or begin anew."""


class SpoolError(DeviceError):
    """The spool's file cannot be used. The agent goes on without what it would have kept, and says so."""

    exit_code = 2


class SpoolFull(SpoolError):
    """A frame finds no place. Whoever offered it has to keep it."""


class HistoryError(DeviceError):
    """The history file cannot be written. For a person to read."""

    exit_code = 2


class EndedTwice(HistoryError):
    """A frame that is not open was ended; each frame ends exactly once, so the agent has a bug."""

    exit_code = 1
