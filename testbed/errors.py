"""Errors of the testbed.

IsthmusError              protocol.errors
└── TestbedError
    ├── TraceError        a trace or a link setting that cannot be played
    ├── AddressError      a port of the link cannot be opened, or a target's name means nothing
    ├── ChildError        a program of the testbed did not start, or ended when it should not
    └── ScenarioError     a comparison that cannot be run as asked
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class TestbedError(IsthmusError):
    """Base of what goes wrong around the programs under test."""

    __test__ = False
    """Not a test class, whatever its name suggests to pytest."""


class TraceError(TestbedError):
    """A trace file is missing, empty or malformed; the sentence names file, line, reason and fix."""

    exit_code = 6


class AddressError(TestbedError):
    """The emulator cannot listen on a port, or a target's host name cannot be resolved. For a person to read."""

    exit_code = 4


class ScenarioError(TestbedError):
    """A comparison cannot be run as asked: its inputs, labels or alternatives do not fit together."""

    exit_code = 6


class ChildError(TestbedError):
    """A child program did not become ready, or ended early; the sentence carries the end of its log."""

    exit_code = 1
