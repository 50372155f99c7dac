"""What answers are worth and what they cost: the figures of the goal `utility`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Amount = Annotated[float, Field(ge=0, le=1e9)]


class Worth(BaseModel):
    """`[relay.worth.MODEL]`: of one frame of a model, in any currency.

    After the utility of DEMS and the quality of experience of GEMS (Raj, Mittal, Gupta and Simmhan: Adaptive Heuristics
    for Scheduling DNN Inferencing on Edge and Cloud for Personalized UAV Fleets, 2024).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    benefit: Amount = 1.0
    """Of an answer in time; one that is late, or none, is worth nothing."""
    edge_cost: Amount = 0.0
    """Of a frame that this edge works on, in time or not."""
    cloud_cost: Amount = 0.0
    """Of a frame that goes up, in time or not."""
    rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the frames that ought to be answered in time in every window."""
    window_s: Annotated[float, Field(gt=0, le=86400)] = 10.0
    bonus: Amount = 0.0
    """Of a window in which they were."""

    @model_validator(mode="after")
    def _worth_an_answer(self) -> Self:
        if self.edge_cost >= self.benefit:
            raise ValueError("edge_cost has to be less than benefit, or no frame would be worth an answer here")
        return self

    @property
    def here(self) -> float:
        """What an answer in time by this edge leaves."""
        return self.benefit - self.edge_cost

    @property
    def above(self) -> float:
        """The same of one by a tier above; less than nothing where that costs more than the answer is worth."""
        return self.benefit - self.cloud_cost

    def lost_elsewhere(self, *, in_time_above: bool) -> float:
        """What is lost where a frame is not answered here but, if worth it, above. DEMS's score of migration."""
        return self.here - (max(0.0, self.above) if in_time_above else 0.0)


@dataclass(slots=True)
class Ledger:
    """What the frames of one model brought, and how its present window stands.

    Attributes:
        utility: benefits less costs, without bonuses.
        windows, kept: windows that had frames and are over; those of them in which the rate was reached.
    """

    worth: Worth
    begun_s: float
    utility: float = 0.0
    windows: int = 0
    kept: int = 0
    ended: int = 0
    in_time: int = 0

    def end(self, now_s: float, *, in_time: bool, worked: bool, passed_up: bool) -> None:
        """A frame ended.

        Args:
            now_s: when.
            in_time: answered by its deadline, by whomever.
            worked: this tier did a step of it.
            passed_up: it was sent to a tier above.
        """
        self._turn_over(now_s)
        self.ended += 1
        self.in_time += in_time
        worth = self.worth
        self.utility += worth.benefit * in_time - worth.edge_cost * worked - worth.cloud_cost * passed_up

    def behind(self, now_s: float) -> bool:
        """Whether fewer than the rate asks for were answered in time in this window so far."""
        self._turn_over(now_s)
        return self.in_time < self.worth.rate * self.ended

    def explained(self) -> dict[str, object]:
        """For a person."""
        bonuses = self.kept * self.worth.bonus
        return {"utility": self.utility, "bonuses": bonuses, "windows": self.windows, "windows_kept": self.kept}

    def _turn_over(self, now_s: float) -> None:
        """Begin another window where this one is over."""
        if now_s < self.begun_s + self.worth.window_s:
            return
        if self.ended:
            self.windows += 1
            self.kept += self.in_time >= self.worth.rate * self.ended
        self.begun_s += self.worth.window_s * ((now_s - self.begun_s) // self.worth.window_s)
        self.ended = self.in_time = 0
