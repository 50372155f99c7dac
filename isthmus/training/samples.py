"""Samples of a recipe: a folder of pictures, an array, or a data set of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from isthmus.evaluation.errors import BadItems
from isthmus.evaluation.items import SUFFIXES, read_items, read_labels
from isthmus.training.named import call_named
from isthmus.training.recipe import Data

_PLAIN: Final[dict[str, Any]] = {"mirror": False, "shift": 0}


class Arrays:
    """Samples in memory."""

    def __init__(self, items: NDArray[Any], labels: NDArray[np.int64] | None, data: Data) -> None:
        self.items, self.labels = torch.from_numpy(items), None if labels is None else torch.from_numpy(labels)
        self._data = data

    def __len__(self) -> int:
        return len(self.items)

    def take(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """A batch, varied as the recipe says."""
        index = torch.from_numpy(chosen)
        return _varied(self.items[index], self._data), None if self.labels is None else self.labels[index]

    def plain(self) -> Arrays:
        """The same, never varied."""
        made = copy(self)
        made._data = self._data.model_copy(update=_PLAIN)
        return made


class Own:
    """A data set of the user's, read item by item."""

    def __init__(self, dataset: Any, places: Sequence[int], data: Data) -> None:
        self._dataset, self._places, self._data = dataset, places, data

    def __len__(self) -> int:
        return len(self._places)

    def take(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """A batch, varied as the recipe says."""
        pairs = [_pair(self._dataset[self._places[int(place)]]) for place in chosen]
        items = torch.stack([item for item, _ in pairs])
        labels = [label for _, label in pairs if label is not None]
        return _varied(items, self._data), torch.tensor(labels) if len(labels) == len(pairs) else None

    def plain(self) -> Own:
        """The same, never varied."""
        return Own(self._dataset, self._places, self._data.model_copy(update=_PLAIN))


Split = Arrays | Own


def read(data: Data, test: Data | None) -> tuple[Split, Split]:
    """Samples to train on and to test on; without a table for the latter, the last tenth of a shuffle is held out.

    Raises:
        BadItems: nothing there that can be read; see `isthmus.evaluation.items`.
    """
    if test is not None:
        return _split(data, None), _split(test, None).plain()
    return _split(data, True), _split(data, False).plain()


def _split(data: Data, front: bool | None) -> Split:
    if data.dataset is not None:
        dataset = call_named(data.dataset)
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise BadItems(f"{data.dataset} returned a {type(dataset).__name__}, which has no len or no [index]")
        return Own(dataset, _part(min(len(dataset), data.limit), front).tolist(), data)
    if data.items is not None:
        items = read_items(data.items, data.limit)
        labels = None if data.labels is None else read_labels(data.labels, len(items))
    else:
        assert data.folder is not None
        items, labels = _pictures(data.folder, data.limit, data.side)
    part = _part(len(items), front)
    return Arrays(items[part], None if labels is None else labels[part], data)


def _part(count: int, front: bool | None) -> NDArray[np.int64]:
    """All places, the nine tenths to train on, or the tenth that is held out; drawn once and for all."""
    if front is None:
        return np.arange(count)
    order = np.random.default_rng(0).permutation(count)
    edge = count - max(count // 10, 1)
    return order[:edge] if front else order[edge:]


def _pictures(folder: Path, limit: int, side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Pictures of a folder, or of one folder for each class, classes in the order of their names."""
    if not folder.is_dir():
        raise BadItems(f"there is no folder {str(folder)!r}; check the path")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if not classes or any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
        return read_items(folder, limit, side=(side, side)), None
    share = max(limit // len(classes), 1)
    found = [read_items(path, share, side=(side, side)) for path in classes]
    labels = np.repeat(np.arange(len(found)), [len(one) for one in found])
    return np.concatenate(found), labels.astype(np.int64)


def _pair(sample: Any) -> tuple[Tensor, int | None]:
    item, label = sample if isinstance(sample, tuple | list) else (sample, None)
    tensor = item if isinstance(item, Tensor) else torch.from_numpy(np.asarray(item))
    return tensor, None if label is None else int(label)


def _varied(items: Tensor, data: Data) -> Tensor:
    return varied(items, mirror=data.mirror, shift=data.shift) if items.ndim == 4 else items


def varied(pictures: Tensor, *, mirror: bool, shift: int) -> Tensor:
    """Mirror half of the pictures, and move all by up to `shift` pixels: [batch, height, width, channels]."""
    if mirror:
        pictures = torch.where(torch.rand(len(pictures), 1, 1, 1) < 0.5, pictures.flip(2), pictures)
    if shift:
        _, height, width, _ = pictures.shape
        padded = F.pad(pictures, (0, 0, shift, shift, shift, shift))
        down, right = torch.randint(0, 2 * shift + 1, (2, len(pictures)))
        rows, columns = down[:, None] + torch.arange(height), right[:, None] + torch.arange(width)
        pictures = padded[torch.arange(len(pictures))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return pictures
