"""Errors of training compressors.

PartitionError              partitioner.errors
├── TrainingFailed          a loss that is no number, or a checkpoint of other settings (exit code 1)
└── InvalidRecipe           a recipe that no compressor can be trained from (exit code 2)
"""

from __future__ import annotations

from partitioner.errors import PartitionError


class TrainingFailed(PartitionError):
    """Training cannot go on. The message names the setting to change or the file to delete."""

    exit_code = 1


class InvalidRecipe(PartitionError):
    """The recipe asks for something that does not exist or does not fit the model. The message names the key."""
