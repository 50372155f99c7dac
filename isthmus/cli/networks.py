"""A network and its example input from the words of a command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_HELP = '"module:function"; the function returns the model, e.g. torchvision.models:resnet18.'
INPUT_HELP = 'Shape of the example, batch first: 1x3x224x224; "uint8:1x224x224x3"; several inputs with a comma.'

_SHAPE = re.compile(r"(?:(\w+):)?(\d+(?:x\d+)*)")
_DTYPES = ("float32", "uint8", "int64")


class NoExample(IsthmusError):
    """The text describes no input."""

    exit_code = 2


def network_named(name: str) -> nn.Module:
    """Import a module and call its function; the model is put into evaluation mode.

    Raises:
        NoSuchModel: no such module or function, or it returns no model.
    """
    from isthmus.training.named import model_named
    from partitioner.torchvision_shim import declare_missing_operators

    declare_missing_operators()  # torchvision and timm ask for them when they are imported
    return model_named(name).eval()


def example_from(text: str | None) -> tuple[Tensor, ...]:
    """Random tensors of the shapes that a text names; the same ones every time.

    Raises:
        NoExample: shows the form.
    """
    import torch

    if text is None:
        raise NoExample(f"a model needs an example of its input: --input 1x3x224x224. {INPUT_HELP}")
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for one in text.split(","):
        found = _SHAPE.fullmatch(one.strip())
        dtype = found.group(1) or "float32" if found else ""
        if found is None or dtype not in _DTYPES:
            raise NoExample(f"--input {text!r} is no shape. {INPUT_HELP} Dtypes: {', '.join(_DTYPES)}")
        shape = [int(size) for size in found.group(2).split("x")]
        if dtype == "float32":
            tensors.append(torch.randn(shape, generator=generator))
        else:
            most = 256 if dtype == "uint8" else 2
            tensors.append(torch.randint(0, most, shape, generator=generator, dtype=getattr(torch, dtype)))
    return tuple(tensors)
