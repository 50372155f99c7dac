"""Errors of the control plane. Those below `Refused` are answered to whoever asked, with an HTTP status.

IsthmusError                      protocol.errors
└── ControlError                  base of this package (exit code 2)
    ├── DatabaseUnusable          the database cannot be opened, or is of a newer release (exit code 4)
    ├── BackupUnusable            a backup is damaged, of another release, or in the wrong place
    ├── ControlUnreachable        the command reached no control plane (exit code 5)
    └── Refused                   base of what is answered to a caller
        ├── NotKnown              there is no such bundle, device, rollout or token (404)
        ├── Unfit                 what was sent breaks a rule (422)
        ├── Conflict              it contradicts what is there already (409)
        ├── NotAllowed            the caller's role, or certificate, does not cover this (403)
        └── NotSignedIn           no token, session or certificate, or one that is not valid (401)
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class ControlError(IsthmusError):
    """Base of all errors of this package."""

    exit_code = 2


class DatabaseUnusable(ControlError):
    """The database cannot be used. For a person to read."""

    exit_code = 4


class BackupUnusable(ControlError):
    """A backup cannot be restored here. For a person to read."""


class ControlUnreachable(ControlError):
    """A command found no control plane where it was told to look. For a person to read."""

    exit_code = 5


class Refused(ControlError):
    """A request that is not carried out; nothing has changed."""

    status = 400


class NotKnown(Refused):
    """There is no such thing."""

    status = 404


class Unfit(Refused):
    """What was sent breaks a rule."""

    status = 422


class Conflict(Refused):
    """It contradicts what is there."""

    status = 409


class NotAllowed(Refused):
    """The caller may not do this."""

    status = 403


class NotSignedIn(Refused):
    """Nobody knows who the caller is."""

    status = 401
