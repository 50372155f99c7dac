"""A model or a data set of the user's, by the name of the function that returns it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from torch import nn

from protocol.errors import IsthmusError


class NoSuchModel(IsthmusError):
    """The name leads nowhere, or to something else than was asked for."""

    exit_code = 2


def call_named(name: str) -> Any:
    """Import a module, from the current folder too, and call its function, "module:function".

    Raises:
        NoSuchModel: no such module or function.
    """
    module_name, colon, function = name.partition(":")
    if not colon:
        raise NoSuchModel(f'{name!r} names no function; write "module:function", e.g. networks:resnet')
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise NoSuchModel(f"there is no module {exc.name!r} here or installed; check the name or the folder") from exc
    make = getattr(module, function, None)
    if not callable(make):
        raise NoSuchModel(f"module {module_name!r} has no function {function!r}; check the name")
    return make()


def model_named(name: str) -> nn.Module:
    """The model that a function returns.

    Raises:
        NoSuchModel: no such module or function, or it returns no model.
    """
    made = call_named(name)
    if not isinstance(made, nn.Module):
        raise NoSuchModel(f"{name} returned a {type(made).__name__}, not a torch.nn.Module; return the model itself")
    return made
