"""Errors of bundles, engines, codecs and settings. Every message says what happened, why, and what to do.

IsthmusError                      protocol.errors
├── SettingsError                 a key or value of a configuration is wrong (exit code 2)
└── BundleError                   base of this room (exit code 3)
    ├── BundleMissing             there is no bundle at that path
    ├── BundleVersion             written for another schema version
    ├── BundleInvalid             the manifest breaks its own rules
    ├── BundleCorrupt             a file is missing, altered, truncated, or was never listed
    ├── BundleUntrusted           not signed by a trusted key, or altered since
    ├── BundleRolledBack          older than one that was accepted before
    ├── KeyUnusable               a key file cannot be read or written
    ├── EngineError               the engine cannot load or run a graph
    ├── PostprocessorMissing      the post-processor that the bundle names is not installed, or in another version
    ├── PostprocessorFailed       it raised an error
    └── CodecError
        ├── UnsupportedShape      an activation that this cut does not declare: our misuse
        └── UndecodablePayload    bytes that are no payload of this cut and level: the peer's
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class SettingsError(IsthmusError):
    """A configuration names a wrong key or value; the message names both and the fix. For a person to read."""

    exit_code = 2


class BundleError(IsthmusError):
    """Base of all errors of this room."""

    exit_code = 3


class BundleMissing(BundleError):
    """There is no bundle at the path given."""


class BundleVersion(BundleError):
    """The bundle's schema version is not one that this release reads."""


class BundleInvalid(BundleError):
    """The manifest cannot be read or contradicts itself."""


class BundleCorrupt(BundleError):
    """A file of the bundle is not what the manifest declares.

    Attributes:
        file: path inside the bundle.
        reason: what is wrong with it, a clause without a full stop.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"bundle file {file!r} {reason}; copy the bundle again from where it was made")
        self.file = file
        self.reason = reason


class BundleUntrusted(BundleError):
    """A bundle is not signed by a trusted key, or is not what was signed. For a person to read."""


class BundleRolledBack(BundleError):
    """A bundle is older than one of the same model that was accepted before. For a person to read."""

    def __init__(self, model_id: str, counter: int, newest: int) -> None:
        super().__init__(
            f"this bundle of {model_id!r} has counter {counter}, and {newest} has been accepted here; use the newer "
            "bundle, or release the older one again with a larger counter"
        )


class KeyUnusable(BundleError):
    """A key file cannot be read or must not be written. For a person to read."""


class EngineError(BundleError):
    """An engine cannot load a graph, or a graph fails on its input."""


class PostprocessorMissing(BundleError):
    """A bundle names a post-processor that is not installed here, or in another version. For a person to read."""


class PostprocessorFailed(BundleError):
    """A post-processor raised an error on what the last segment gave."""


class CodecError(BundleError):
    """Base of what a codec raises."""


class UnsupportedShape(CodecError):
    """An activation's dtype or shape is not the one its cut declares. The caller passed the wrong tensor."""


class UndecodablePayload(CodecError):
    """The bytes are no payload of this cut and level. Refuse the frame; the stream goes on."""
