"""The models of a tier: each bundle under its model id, in a version that is its counter."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from runtime.bundle import Bundle
from runtime.manifest import RawLevel, TensorSpec
from serving.oip.datatypes import DATATYPES
from serving.oip.errors import Reason, RequestRefused

PLATFORM: Final = "onnx_onnxv1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """A tensor as metadata describe it: -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    item_bytes: int
    """Of the tensor, for one item."""

    @classmethod
    def of(cls, spec: TensorSpec) -> TensorMetadata:
        """Those of a bundle's tensor."""
        return cls(spec.name, DATATYPES[spec.dtype], (-1, *spec.shape), spec.nbytes)


@dataclass(frozen=True, eq=False)
class Model:
    """One bundle as this protocol names it."""

    name: str
    version: str
    bundle: Bundle

    @cached_property
    def inputs(self) -> tuple[TensorMetadata, ...]:
        """What it takes."""
        return tuple(map(TensorMetadata.of, self.bundle.manifest.takes))

    @cached_property
    def outputs(self) -> tuple[TensorMetadata, ...]:
        """What it gives."""
        return tuple(map(TensorMetadata.of, self.bundle.manifest.outputs))

    @cached_property
    def row(self) -> TensorSpec:
        """What a frame at cut 0 carries: the input, or all inputs of an item one behind the other."""
        return self.bundle.manifest.input

    @cached_property
    def raw_level(self) -> int:
        """The level of cut 0 whose payloads are the item's own bytes."""
        levels = self.bundle.manifest.cuts[0].levels
        return next(number for number, level in enumerate(levels) if isinstance(level, RawLevel))


class Catalog:
    """Finds models by name and version. Fixed when built.

    Bundles of one model id and one counter have the first digits of their digests added to their versions. A bundle
    that does not take its input as it is (no raw level at cut 0) or keeps state is left out, and the log says so.
    """

    def __init__(self, bundles: Iterable[Bundle]) -> None:
        offered = [bundle for bundle in bundles if _is_offered(bundle)]
        ordered = sorted(offered, key=lambda bundle: (bundle.manifest.model_id, bundle.manifest.counter))
        same = Counter((bundle.manifest.model_id, bundle.manifest.counter) for bundle in ordered)
        self._models: dict[str, dict[str, Model]] = {}
        for bundle in ordered:
            name, counter = bundle.manifest.model_id, bundle.manifest.counter
            version = str(counter) if same[name, counter] == 1 else f"{counter}-{bundle.digest.hex()[:8]}"
            self._models.setdefault(name, {})[version] = Model(name, version, bundle)

    def all(self) -> list[Model]:
        """Every version of every model, by name, the oldest first."""
        return [model for versions in self._models.values() for model in versions.values()]

    def versions(self, name: str) -> tuple[str, ...]:
        """Those of one model, the oldest first.

        Raises:
            RequestRefused: there is no such model.
        """
        return tuple(self._of(name))

    def find(self, name: str, version: str = "") -> Model:
        """One model; the newest without a version.

        Raises:
            RequestRefused: there is no such model or version.
        """
        versions = self._of(name)
        if not version:
            return next(reversed(versions.values()))
        if version not in versions:
            known = ", ".join(versions)
            raise RequestRefused(Reason.NOT_FOUND, f"model {name!r} has no version {version[:64]!r}; it has {known}")
        return versions[version]

    def chosen(self, name: str = "", version: str = "") -> list[Model]:
        """Those that statistics are asked of: all, all versions of one, or one.

        Raises:
            RequestRefused: there is no such model or version.
        """
        if not name:
            return self.all()
        return [self.find(name, version)] if version else list(self._of(name).values())

    def _of(self, name: str) -> dict[str, Model]:
        if name not in self._models:
            raise RequestRefused(
                Reason.NOT_FOUND, f"there is no model {name[:64]!r} here; the index names those served"
            )
        return self._models[name]


def _is_offered(bundle: Bundle) -> bool:
    manifest = bundle.manifest
    if manifest.keeps_state:
        _log.warning("bundle %s keeps state for streams: not offered to requests, which have none", bundle.path)
    elif not any(isinstance(level, RawLevel) for level in manifest.cuts[0].levels):
        _log.warning("bundle %s has no raw level at cut 0: not offered as a whole model", bundle.path)
    else:
        return True
    return False
