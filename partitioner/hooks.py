"""Forward hooks of a user's model: those that change its answer are captured with it, all others are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from partitioner.errors import UnsupportedModel

_OWN = "torch.nn.utils"
"""Where torch's own hooks live, which renew a weight before it is used (weight and spectral norm)."""


def refuse_side_effects(twin: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Require that without any one of its hooks the model's answer would be another, or none.

    A hook that changes nothing is there for what it does besides: it counts, prints, collects. No segment would.

    Args:
        twin: a copy of the user's model, for hooks are taken away one at a time, and put back.

    Raises:
        UnsupportedModel: names the hook, its module and how to remove it.
    """
    hooked = [
        (path, hooks, key)
        for path, module in twin.named_modules()
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for key, hook in hooks.items()
        if not _module_of(hook).startswith(_OWN)
    ]
    if not hooked:
        return
    whole = _answer(twin, inputs)
    for path, hooks, key in hooked:
        kept = dict(hooks)
        del hooks[key]
        try:
            idle = _same(_answer(twin, inputs), whole)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            idle = False  # the model needs it
        hooks.clear()
        hooks.update(kept)
        if idle:
            where = f"module {path!r}" if path else "the model"
            raise UnsupportedModel(
                f"the hook {_name_of(kept[key])!r} on {where} changes nothing in the answer, so it is there for its "
                "side effects, and a bundle has none; remove it before partitioning (the handle that registering it "
                "returned has a method remove()), and register it again afterwards"
            )


def _answer(model: nn.Module, inputs: Sequence[Tensor]) -> list[Any]:
    with torch.no_grad():
        return pytree.tree_leaves(model(*inputs))


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def _module_of(hook: Any) -> str:
    return str(getattr(hook, "__module__", ""))


def _name_of(hook: Any) -> str:
    return getattr(hook, "__qualname__", None) or type(hook).__qualname__
