"""A table as a Parquet file, for tools that read millions of rows; needs pyarrow, which nothing else here does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> bool:
    """Write these columns, each of one type, missing values null; whether pyarrow is there to do it.

    The same rows give the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    if find_spec("pyarrow") is None:
        return False
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    found = {name: _column([row.get(name) for row in rows]) for name in columns}
    parquet.write_table(arrow.table(found), path)
    return True


def _column(values: Sequence[object]) -> list[object]:
    """Numbers of one column are whole or not, but not both."""
    if any(isinstance(value, float) for value in values):
        return [float(value) if isinstance(value, int) else value for value in values]
    return list(values)
