"""Settings of a program: one TOML file plus overrides, checked into one frozen pydantic model.

An override's key is the dotted path of a setting (`source.rate_hz`). Its value may be text from a command line
(`"5"`), read as TOML where it is TOML and as plain text otherwise, or a Python value.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from runtime.errors import SettingsError

Model = TypeVar("Model", bound=BaseModel)

_TOLD_CHARACTERS = 80
_IN_TOML = {"tuple": "list", "dictionary": "table", " after validation": ""}
"""What pydantic calls by Python's names."""


def load_settings(model: type[Model], path: Path | None, overrides: Mapping[str, object] | None = None) -> Model:
    """Read a TOML file, apply overrides, and check the whole.

    Args:
        model: the settings class; give it `extra="forbid"` and `frozen=True`.
        path: the TOML file, or None to start from nothing.
        overrides: dotted key to value; a table that a key names is created where it is absent.

    Raises:
        SettingsError: the file cannot be read, or a key or value is wrong; one sentence for a person.
    """
    tree = {} if path is None else _read(path)
    for key, value in (overrides or {}).items():
        _put(tree, key, _value_of(model, key, value))
    return check_settings(model, tree, origin="the settings (no file was named)" if path is None else str(path))


def check_settings(model: type[Model], tree: Mapping[str, object], *, origin: str = "the settings") -> Model:
    """Check a tree of plain values; `origin` names where it came from in the error.

    Raises:
        SettingsError: naming key, value, reason and fix.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as exc:
        raise SettingsError(sentence_of(model, exc, origin)) from exc


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise SettingsError(f"there is no configuration file {str(path)!r}; check the path") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"configuration file {str(path)!r} cannot be read as text: {exc}") from exc
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(
            f"configuration file {str(path)!r} is not TOML: {exc}; correct that line (text needs quotes, tables [name])"
        ) from exc


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    *tables, last = key.split(".")
    if not all([*tables, last]):
        raise SettingsError(f"setting {key!r} is no dotted key; write it like source.rate_hz=5")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"setting {key!r} reaches into {table!r}, which holds a value; remove one of the two")
    tree[last] = value


def _value_of(model: type[BaseModel], key: str, value: object) -> object:
    """Text that the setting takes as text stays; other text is read as TOML."""
    if not isinstance(value, str) or _takes_text(model, key):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _takes_text(model: type[BaseModel], key: str) -> bool:
    """Whether every type that the setting may have is read from a string ("5" as a name stays "5")."""
    annotation = _annotation_at(model, tuple(key.split(".")))
    kinds = [kind for kind in _alternatives(annotation) if kind is not type(None)]
    return bool(kinds) and all(isinstance(kind, type) and issubclass(kind, str | Path) for kind in kinds)


def _annotation_at(model: type[BaseModel], location: tuple[str, ...]) -> object:
    for owner in _models_at(model, location[:-1]):
        if location[-1] in owner.model_fields:
            return owner.model_fields[location[-1]].annotation
    return None


def _alternatives(annotation: object) -> Iterator[object]:
    """The members of a union, with Annotated taken off."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _models_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The settings classes that may stand at a location; names of union members in it are passed over."""
    models = [model]
    for step in location:
        below = [
            kind
            for owner in models
            if step in owner.model_fields
            for kind in _members(owner.model_fields[str(step)].annotation)
        ]
        models = below or models
    return models


def _members(annotation: object) -> Iterator[type[BaseModel]]:
    """Settings classes within an annotation, through unions and containers."""
    for kind in _alternatives(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
        else:
            for argument in get_args(kind):
                yield from _members(argument)


def sentence_of(model: type[BaseModel], exc: ValidationError, origin: str) -> str:
    """The first error, as one sentence; a misspelt key goes before the missing key that it causes."""
    errors = sorted(exc.errors(), key=lambda error: error["type"] != "extra_forbidden")
    error = errors[0]
    key = ".".join(str(step) for step in error["loc"])
    more = f" ({len(errors) - 1} more after this one)" if len(errors) > 1 else ""
    if error["type"] == "extra_forbidden":
        return f"{origin}: unknown key {key!r}; {_nearest(model, error['loc'])}{more}"
    if error["type"] == "missing":
        return f"{origin}: {key!r} is missing; add it{more}"
    value = repr(error["input"])
    if len(value) > _TOLD_CHARACTERS:
        value = value[:_TOLD_CHARACTERS] + "..."
    reason = error["msg"].removeprefix("Value error, ")
    for python, toml in _IN_TOML.items():
        reason = reason.replace(python, toml)
    reason = reason[:1].lower() + reason[1:]
    where = f"{key} = {value}" if key else "these settings"
    return f"{origin}: {where} is refused: {reason}; change {key or 'them'}{more}"


def _nearest(model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    known = sorted({name for owner in _models_at(model, location[:-1]) for name in owner.model_fields})
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}? (known here: {', '.join(known)})"
    return f"remove it (known here: {', '.join(known)})"
