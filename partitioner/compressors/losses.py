"""What a restored activation is worth: how far the network's answer and its later activations move."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened answers (Hinton et al., 2015), in nats, [batch]."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(1) * temperature**2


def distance(students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of activations at this cut and all later ones, in units of the teacher's variance.

    Generalised head network distillation (Matsubara and Levorato, ICPR 2020) matches later activations as well: they
    say which errors at the cut matter.
    """
    distances = [
        ((student.float() - teacher.float()) ** 2).mean() / teacher.float().var().clamp_min(1e-6)
        for student, teacher in zip(students, teachers, strict=True)
    ]
    return torch.stack(distances).mean()


def price(done: float, free_share: float = 0.05, ramp_share: float = 0.3) -> float:
    """Share of the weight of bits that holds when `done` of the training is over: 0.02, rising to 1.

    A bottleneck that must save bits before it can say anything learns to say nothing.
    """
    return min(max((done - free_share) / ramp_share, 0.02), 1.0)
