"""A tier with both doors open, in this process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from serving.oip.opening import OpenInference
from serving.oip.settings import OipSettings
from serving.oip.statistics import Statistics
from serving.tier import Tier
from tests.serving.tiers import whole
from transport.settings import Listen, Quotas

LOOPBACK = OipSettings(rest=Listen(), grpc=Listen())


@dataclass(frozen=True)
class Doors:
    tier: Tier
    oip: OpenInference

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.oip.ports['rest']}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.oip.ports['grpc']}"


@asynccontextmanager
async def open_doors(
    *paths: Path, settings: OipSettings = LOOPBACK, quotas: Quotas | None = None, **options: Any
) -> AsyncIterator[Doors]:
    bundles = [Bundle.open(path) for path in paths]
    statistics = Statistics()
    tier = Tier(
        "edge", bundles, OnnxRuntimeEngine(), upstream=None, clock=time.monotonic, observe=statistics, **options
    )
    oip = OpenInference(settings, bundles, tier, statistics, quotas or Quotas(), time.monotonic)
    try:
        await tier.start()
        await oip.start()
        yield Doors(tier, oip)
    finally:
        await oip.stop()
        await tier.stop()
        for bundle in bundles:
            bundle.close()


def truth(model: Path, items: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Logits of the unsplit model, [items, classes]."""
    return np.stack([whole(model, item) for item in items])
