"""The functions of every operation, from the descriptions beside their kernels' arguments.

``normdrop._core.operations()`` says of each operation how x is seen and what role every argument
plays (csrc/ops/roles.h); the functions of Python that call it have the same names. The tests that
loop over all operations take them from ``FUNCTIONS``, and meet a new one without a line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import normdrop as nd
from normdrop import _core, reference

# Roles that Python passes no argument for.
RETURNED = ("new_result", "new_statistic", "gradient", "new_count", "count_of_statistics")
GIVEN = ("result", "new_result", "new_statistic", "gradient", "new_count")  # results
LIKE_X = ("leader", "like")
# Options come by keyword, and so does an array like x that may be left out.
POSITIONAL = (*LIKE_X, "parameter", "statistic", "statistics", "running", "number_of_groups",
              "probability", "mask")  # fmt: skip

# What one argument of Python stands for several roles of; all else has its role's own name.
DRAWN = {"draw": ("p", "rng")}

# Dropout's family has a binding of its own: the same descriptions, written here. The class of the
# masks of each function, and what says how strong it is.
DROPOUTS = {
    "dropout": ("DropoutMask", "p"),
    "alpha_dropout": ("AlphaDropoutMask", "p"),
    "gaussian_dropout": ("GaussianDropoutMask", "p"),
    "uniform_dropout": ("UniformDropoutMask", "beta"),
}


def _elementwise(name: str, mask: str, strength: str) -> list[dict[str, Any]]:
    of = {"shape": "elements", "rows_are_independent": False}
    forward = [
        {"name": "x", "role": "leader"},
        {"name": strength, "role": "probability"},
        {"name": "rng", "role": "random_source"},
        {"name": "shared_axes", "role": "shared_axes"},
        {"name": "out", "role": "result", "may_be": "x"},
    ]
    backward = [
        {"name": "grad_output", "role": "leader"},
        {"name": "mask", "role": "mask", "type": mask},
        {"name": "out", "role": "result", "may_be": "grad_output"},
    ]
    entries = [f"{name}_forward", name]
    return [
        {"name": name, "entries": entries, "roles": forward, **of},
        {"name": f"{name}_backward", "entries": [f"{name}_backward"], "roles": backward, **of},
    ]


ELEMENTWISE = [one for name, of in DROPOUTS.items() for one in _elementwise(name, *of)]


class Role(NamedTuple):
    """What one argument or result is; a name with a point is a field of an object."""

    name: str
    role: str
    optional: bool = False
    one_for_all: bool = False
    may_be: str | None = None
    type: str = ""
    fields: tuple[str, ...] = ()
    of: str = ""


class Result(NamedTuple):
    """One array that came back, and what it is: like x, a statistic, or a gradient."""

    name: str
    role: str
    array: Any


class Function:
    """A public function that calls a described operation."""

    def __init__(self, name: str, described: dict[str, Any]) -> None:
        self.name = name
        self.kind: str = described["shape"]
        self.rows_are_independent: bool = described["rows_are_independent"]
        self.least_values: int = described.get("least_values", 0)
        self.least_axes: int = described.get("least_axes", 1)
        self.roles = [Role(**{**role, "fields": tuple(role.get("fields", ()))})
                      for role in described["roles"]]  # fmt: skip
        self.short = name != described["entries"][0]  # the first result alone

    def __repr__(self) -> str:
        return self.name

    @property
    def call(self) -> Callable[..., Any]:
        return getattr(nd, self.name)

    @property
    def reference(self) -> Callable[..., Any]:
        return getattr(reference, self.name)

    def passed(self, *kinds: str) -> list[Role]:
        """The roles that are passed, all or those of these kinds."""
        found = [role for role in self.roles if role.role not in RETURNED]
        return [role for role in found if role.role in kinds] if kinds else found

    @property
    def signature(self) -> list[str]:
        """The arguments as Python passes them, in order; fields count as their object."""
        names: dict[str, None] = {}
        for role in self.passed():
            if role.role == "draw":
                names.update({} if "fused" in names else dict.fromkeys(DRAWN["draw"]))
            else:
                names[role.name.partition(".")[0]] = None
        return list(names)

    @property
    def keywords(self) -> list[str]:
        """Those that must come by keyword."""
        free = {role.name.partition(".")[0] for role in self.passed(*POSITIONAL)
                if not (role.role == "like" and role.optional)}  # fmt: skip
        return [name for name in self.signature if name not in free]

    @property
    def leader(self) -> str:
        return self.passed("leader")[0].name

    @property
    def out(self) -> Role | None:
        return next(iter(self.passed("result")), None)

    def arrays(self, *kinds: str) -> list[str]:
        """The arguments that are arrays, and the fields that are, all or those of these roles."""
        found = []
        for role in self.passed(*(kinds or (*LIKE_X, "parameter", "statistic", "running",
                                            "statistics"))):  # fmt: skip
            fields = [f"{role.name}.{field}" for field in role.fields]
            found += fields if role.role == "statistics" else [role.name]
        return found

    def role_of(self, argument: str) -> Role:
        """The role of an array argument, or of the object that it is a field of."""
        names = {argument, argument.rpartition(".")[0]}
        return next(role for role in self.passed() if role.name in names)

    def expected(self, arguments: dict[str, Any]) -> list[Role]:
        """The results that a call with these arguments has, in order."""
        found = [role for role in self.roles if role.role in GIVEN]
        if self.short:
            return found[:1]
        return [
            role for role in found if role.role != "gradient" or not _left_out(arguments[role.name])
        ]

    def results(self, returned: Any, arguments: dict[str, Any]) -> list[Result]:
        """What came back, by name; objects that are no arrays are left out."""
        roles, values = self.expected(arguments), list(flat(returned))
        assert len(values) == len(roles), f"{self}: {len(values)} results for {len(roles)}"
        pairs = zip(roles, values, strict=True)
        return [Result(role.name, role.role, value) for role, value in pairs]


def _left_out(value: Any) -> bool:
    return value is None or value is False


def flat(value: Any) -> Iterator[Any]:
    """The arrays and numbers of a result, however they are nested; neither masks nor None."""
    if value is None or hasattr(value, "seed"):
        return
    if isinstance(value, tuple):
        for part in value:
            yield from flat(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from flat(getattr(value, field.name))
    else:
        yield value


DESCRIBED = [*_core.operations(), *ELEMENTWISE]
FUNCTIONS = {name: Function(name, one) for one in DESCRIBED for name in one["entries"]}
