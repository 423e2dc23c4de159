"""Typed options of the stages: documentation, type and default in one place.

@dataclass(frozen=True, kw_only=True)
class CodecOptions(Options):
    frames: int = option(13, "frames of a training clip, 1 + 4 n")
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from quickchange.errors import RecipeError
from quickchange.train import STAGES, stage_class

Schedule = float | tuple[tuple[int, float], ...]
"""One value, or ``[[step, value], ...]`` in rising order: 0 before the first step."""

Chosen = TypeVar("Chosen", bound="Options")


def option(default: Any, doc: str) -> Any:
    """A field with its documentation: half a sentence for the table in docs/training.md."""
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one stage beyond ``StageConfig``; every stage has a subclass.

    Raises:
        RecipeError: a value of another type; names it.
    """

    def __post_init__(self) -> None:
        """Check types; whole numbers become floats and lists tuples where these are expected."""
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            fitted = _fit(value, hints[field.name])
            if fitted is _MISFIT:
                raise RecipeError(f"{field.name} is {value!r}; expected {type_name(hints[field.name])}")
            object.__setattr__(self, field.name, fitted)

    @classmethod
    def from_dict(cls: type[Chosen], values: dict[str, Any]) -> Chosen:
        """Options of a recipe's table.

        Raises:
            RecipeError: an unknown name or a value of another type.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise RecipeError(f"unknown options {unknown}; expected some of {sorted(known)}")
        return cls(**values)


_MISFIT = object()


def _fit(value: Any, hint: Any) -> Any:
    """The value as ``hint`` wants it, or ``_MISFIT``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value if value in arguments else _MISFIT
    if origin in (types.UnionType, typing.Union):
        fitted = (_fit(value, argument) for argument in arguments)
        return next((one for one in fitted if one is not _MISFIT), _MISFIT)
    if origin is tuple and isinstance(value, list | tuple):
        wanted = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
        if len(wanted) != len(value):
            return _MISFIT
        parts = tuple(_fit(part, kind) for part, kind in zip(value, wanted, strict=True))
        return _MISFIT if _MISFIT in parts else parts
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) or (isinstance(value, bool) and hint is not bool):
        return _MISFIT
    return value if isinstance(value, hint) else _MISFIT


def type_name(hint: Any) -> str:
    """A type as a reader of recipes knows it, e.g. ``"a" or "b"``, ``number``, ``number or [[step, value], ...]``."""
    if hint == Schedule:
        return "number or [[step, value], ...]"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_name(argument) for argument in arguments if argument is not type(None))
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(hint, str(hint))


def at_step(schedule: Schedule, step: int) -> float:
    """The value of a schedule at a 0-based step."""
    if isinstance(schedule, float):
        return schedule
    return next((value for start, value in reversed(schedule) if step >= start), 0.0)


def _shown(default: Any) -> str:
    if default is None or default == "":
        return "none"
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


def options_table() -> str:
    """All stages' options as a Markdown table: what several stages share stands once, first."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in STAGES:
        kind = stage_class(name).Options
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            cells = (f"`{field.name}`", type_name(hints[field.name]), _shown(field.default), field.metadata["doc"])
            rows.setdefault(cells, []).append(name)
    lines = ["| stage | option | type | default | |", "| --- | --- | --- | --- | --- |"]
    order = sorted(rows, key=lambda cells: -len(rows[cells]))
    lines += [f"| {', '.join(f'`{stage}`' for stage in rows[cells])} | {' | '.join(cells)} |" for cells in order]
    return "\n".join(lines) + "\n"
