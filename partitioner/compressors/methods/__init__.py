"""How a bottleneck learns: one small file per published method. A method names phases; the trainer runs them.

To add one: a file here with a class like `Ghnd`, a line in `METHODS`, a row in docs/compression.md, and its name in
`tests/partitioner/test_methods.py`.
"""

from __future__ import annotations

from typing import Final

from partitioner.compressors.methods.bottlefit import BottleFit
from partitioner.compressors.methods.embedded import Embedded
from partitioner.compressors.methods.entropic import Entropic
from partitioner.compressors.methods.gained import Gained
from partitioner.compressors.methods.ghnd import Ghnd
from partitioner.compressors.methods.hyperprior import Hyperprior
from partitioner.compressors.methods.method import Lesson, Method, Moment, Phase
from partitioner.compressors.methods.slimmable import Slimmable

__all__ = [
    "METHODS",
    "BottleFit",
    "Embedded",
    "Entropic",
    "Gained",
    "Ghnd",
    "Hyperprior",
    "Lesson",
    "Method",
    "Moment",
    "Phase",
    "Slimmable",
]

METHODS: Final[dict[str, Method]] = {
    method.name: method for method in (BottleFit(), Ghnd(), Entropic(), Gained(), Hyperprior(), Embedded(), Slimmable())
}
