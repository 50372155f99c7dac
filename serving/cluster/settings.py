"""`[ray]`: the cluster that does a tier's work."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transport.address import Target


class RaySettings(BaseModel):
    """Workers on a Ray cluster; every machine of it has isthmus, and the tier's bundles at the same paths."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    address: Target | None = None
    """`host:port` of a cluster that runs, of which this machine is a node; without it, one is started here."""
    least: Annotated[int, Field(ge=1, le=256)] = 1
    """Workers that there always are."""
    most: Annotated[int, Field(ge=1, le=256)] = 4
    """Workers that there may be: as many as queue and deadlines ask for."""
    cpus: Annotated[float, Field(gt=0, le=256)] = 1.0
    """Processors that each worker takes of the cluster's."""
    calm_s: Annotated[float, Field(ge=0, le=86400)] = 60.0
    """How long fewer workers must have been enough before one is given back."""
    start_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """How long the least number of workers may take to start."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is more than most = {self.most}; make most at least as large")
        return self
