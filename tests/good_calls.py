"""Good calls of every described function: arrays of a shape, a dtype and how x is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import normdrop as nd
from cases import normal, parameter, wide
from described import FUNCTIONS, LIKE_X, Function, Role

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Options = dict[str, Any]

SIGNED = ("mean", "grad", "grad_x_hat", "running_mean")  # all other statistics are positive


class Case(NamedTuple):
    """A function, the shape of x and how it is seen: axis, groups, flags."""

    function: Function
    shape: Shape
    options: Options

    def __str__(self) -> str:
        text = [self.function.name, "x".join(map(str, self.shape))]
        for name, value in self.options.items():
            if value is not False:
                text.append(name if value is True else f"{name} {value}")
        return ", ".join(text)

    @property
    def sets(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The axes of x that tell sets apart, and those along which a parameter lies."""
        rank = len(self.shape)
        kind = self.function.kind
        if kind == "elements":
            return tuple(range(rank)), ()
        along = tuple(sorted(i % rank for i in _tuple(self.options[axis_name(self.function)])))
        if kind == "over_axes":
            return tuple(i for i in range(rank) if i not in along), along
        return (along if kind == "per_channel" else (0, *along)), along

    @property
    def parameter_shape(self) -> Shape:
        return tuple(self.shape[i] for i in self.sets[1])

    @property
    def statistic_shape(self) -> Shape:
        if self.function.kind == "channel_groups":
            return self.shape[0], self.groups
        return tuple(self.shape[i] for i in self.sets[0])

    @property
    def groups(self) -> int:
        name = next((role.name for role in self.function.passed("number_of_groups")), None)
        return self.parameter_shape[0] if name is None else self.options[name]

    @property
    def values_of_a_set(self) -> int:
        """How many there are; statistics are those of so many."""
        apart, along = self.sets
        sizes = [size for i, size in enumerate(self.shape) if i not in apart]
        if self.function.kind == "channel_groups":
            sizes.append(self.shape[along[0]] // self.groups)
        return int(np.prod(sizes))

    def arguments(self, dtype: npt.DTypeLike, parameters: npt.DTypeLike = None) -> dict[str, Any]:
        """Good arguments without `out`: fresh arrays of the same values each time."""
        kind = dtype if parameters is None else parameters
        values: dict[str, Any] = {}
        for role in self.function.passed():
            if role.role == "draw":
                values.update(p=0.3, rng=(2014, 3))
            elif role.role != "result":
                values[role.name] = self._value(role, dtype, kind)
        return assembled(self, values)

    def _value(self, role: Role, dtype: npt.DTypeLike, parameters: npt.DTypeLike) -> Any:
        name = role.name.rpartition(".")[2]
        if role.role in LIKE_X:
            return normal(self.shape, dtype, name, offset=1.0 if role.role == "leader" else 0.0)
        if role.role == "parameter":
            return parameter(self.parameter_shape, parameters, name)
        if role.role == "running":
            return self._statistic(name).astype(wide(dtype))
        if role.role == "statistic":
            return self._statistic(name)
        if role.role == "statistics":
            return self._object(role)
        plain = {"epsilon": 1e-5, "flag": False, "wanted": True, "probability": 0.3,
                 "random_source": (2014, 3), "shared_axes": ()}  # fmt: skip
        if role.role == "mask":
            return getattr(nd, role.type)(2014, 3, 0.3, self.shape)
        return self.options.get(role.name, plain.get(role.role))

    def _statistic(self, name: str) -> Array:
        values = normal(self.statistic_shape, np.float64, name)
        return values if name in SIGNED else values**2 + 0.5

    def _object(self, role: Role) -> Any:
        kind = getattr(nd, role.type)
        others = {"count": self.values_of_a_set, "var": self._statistic("var")}
        return kind(**{name: self._statistic(name) if name in role.fields else others.get(name)
                       for name in field_names(kind)})  # fmt: skip


def _tuple(axes: Any) -> tuple[int, ...]:
    return axes if isinstance(axes, tuple) else (axes,)


def axis_name(function: Function) -> str:
    """What Python calls the axis or axes."""
    return function.passed("axes", "channel_axis")[0].name


def field_names(kind: Any) -> tuple[str, ...]:
    """The fields of a class of results."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return kind._fields


def assembled(case: Case, values: dict[str, Any]) -> dict[str, Any]:
    """Fields put into the object that Python passes: what a forward pass in one step returned."""
    found: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for name, value in values.items():
        head, _, field = name.partition(".")
        found[head] = None if field else value
        fields |= {field: value} if field else {}
    if "fused" in found:
        mask = nd.DropoutMask(*found.pop("rng"), found.pop("p"), case.shape)
        found["fused"] = nd.FusedNorm(y=None, mask=mask, **fields)
    return found


def get(arguments: dict[str, Any], argument: str) -> Any:
    """An argument, or a field of one as in ``stats.mean``."""
    head, *fields = argument.split(".")
    value = arguments[head]
    for field in fields:
        value = getattr(value, field)
    return value


def put(arguments: dict[str, Any], argument: str, value: Any) -> None:
    """Replace an argument, or a field of one."""
    owner, _, field = argument.rpartition(".")
    if not owner:
        arguments[argument] = value
        return
    before = get(arguments, owner)
    named = {field: value}
    changed = (dataclasses.replace(before, **named) if dataclasses.is_dataclass(before)
               else before._replace(**named))  # fmt: skip
    put(arguments, owner, changed)


def with_changed(arguments: dict[str, Any], argument: str, value: Any) -> dict[str, Any]:
    """The arguments with another value of one."""
    changed = dict(arguments)
    put(changed, argument, value)
    return changed


# Which shapes ------------------------------------------------------------------------------------

Geometry = tuple[Any, ...]  # the shape, the axis or axes, and the number of groups

ORDINARY: dict[str, list[Geometry]] = {
    "over_axes": [((7, 33), -1), ((5, 7, 11), 1), ((5, 7, 11), (0, 1)), ((3, 1, 7, 5), 2)],
    "per_channel": [((7, 33), 1), ((3, 5, 7, 11), 1), ((5, 7, 11), -1), ((5, 7, 11), 0)],
    "channel_groups": [((7, 33), 1, 3), ((3, 10, 7, 11), 1, 5), ((5, 7, 22), -1, 2)],
    "elements": [((5, 7, 11),)],
}


def cases(geometries: dict[str, list[Geometry]] = ORDINARY, *, short: bool = False) -> list[Case]:
    """Every function with every geometry of its kind and every setting of its flags."""
    return [
        Case(function, shape, options | flags)
        for function in FUNCTIONS.values()
        if short or not function.short
        for shape, *seen in geometries[function.kind]
        for options in [dict(zip(_geometry_names(function), seen, strict=False))]
        for flags in _settings(function)
    ]


def _geometry_names(function: Function) -> list[str]:
    return [role.name for kinds in (("axes", "channel_axis"), ("number_of_groups",))
            for role in function.passed(*kinds)]  # fmt: skip


def _settings(function: Function) -> Iterator[Options]:
    flags = [role.name for role in function.passed("flag")]
    yield dict.fromkeys(flags, False)
    for flag in flags:
        yield {**dict.fromkeys(flags, False), flag: True}
