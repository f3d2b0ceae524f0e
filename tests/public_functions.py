"""Every public function, described or not, with arguments that work: bad calls start from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import normdrop as nd
from described import DROPOUTS
from described import FUNCTIONS as DESCRIBED
from good_calls import Case, Geometry, cases

# One call of each; sizes are different primes, but for the channels of 3 groups.
SHAPES: dict[str, list[Geometry]] = {
    "over_axes": [((5, 7, 11), -1)],
    "per_channel": [((5, 7, 11), 1)],
    "channel_groups": [((5, 6, 11), 1, 3)],
    "elements": [((5, 7, 11),)],
}
CASES: dict[str, Case] = {}
for _case in cases(SHAPES, short=True):
    CASES.setdefault(_case.function.name, _case)

# What has no description: the roles of its arrays, the first of which leads.
OTHER_ARRAYS = {
    "update_running_stats": {
        "stats.mean": "statistics",
        "stats.var": "statistics",
        "running_mean": "running",
        "running_var": "running",
    },
    "BatchStats.from_running": {"running_mean": "running", "running_var": "running"},
}
MASKS = dict(DROPOUTS.values())  # the classes, each with the name of its strength
OTHERS = [
    *OTHER_ARRAYS, *MASKS, "use_backend", "num_threads", "set_num_threads",
    "set_pool_limit", "show_config",
]  # fmt: skip
FUNCTIONS = [*DESCRIBED, *OTHERS]
WITHOUT_ARGUMENTS = {"backends", "get_num_threads", "release_pool"}


def good_arguments(function: str) -> dict[str, Any]:
    """Arguments with which the function works; fresh arrays each time."""
    if function not in CASES:
        return _others(function)
    case = CASES[function]
    arguments = case.arguments(np.float32)
    if case.function.out is not None:
        arguments["out"] = np.full(case.shape, 123.0, np.float32)
    return arguments


def _others(function: str) -> dict[str, Any]:
    running = {"running_mean": np.zeros(7, np.float32), "running_var": np.ones(7, np.float32)}
    channels = nd.BatchStats(np.zeros(7), np.ones(7), np.ones(7), 55)
    return {
        "update_running_stats": {**running, "stats": channels, "momentum": 0.1, "correction": 1},
        "BatchStats.from_running": {**running, "eps": 1e-5},
        **{
            mask: {"seed": 3, "call": 0, strength: 0.5, "shape": (5, 7, 11), "shared_axes": (0,)}
            for mask, strength in MASKS.items()
        },
        "use_backend": {"name": "baseline"},
        "num_threads": {"n": 1},
        "set_num_threads": {"n": 1},
        "set_pool_limit": {"bytes": 0},
        "show_config": {"mode": "dict"},
    }[function]


def find(function: str) -> Callable[..., Any]:
    found: Any = nd
    for part in function.split("."):
        found = getattr(found, part)
    return found


def array_roles(function: str) -> dict[str, str]:
    """The arguments that are arrays, fields among them, each with its role."""
    if function not in DESCRIBED:
        return OTHER_ARRAYS.get(function, {})
    described = DESCRIBED[function]
    roles = {name: described.role_of(name).role for name in described.arrays()}
    return roles | ({"out": "result"} if described.out else {})


def leader(function: str) -> str:
    """The array whose kind and dtype the others have to have."""
    if function in DESCRIBED:
        return DESCRIBED[function].leader
    return next(iter(OTHER_ARRAYS[function]))


def may_be_none(function: str, argument: str) -> bool:
    if argument == "out":
        return True
    return function in DESCRIBED and DESCRIBED[function].role_of(argument).optional


def public_functions() -> set[str]:
    """What is callable, but for classes of results and what takes no argument."""
    callables = {name for name in nd.__all__ if callable(getattr(nd, name))}
    results = {name for name in callables if is_result(getattr(nd, name))}
    return callables - (results - {*MASKS}) - WITHOUT_ARGUMENTS


def is_result(kind: Any) -> bool:
    """A class of what functions return; the others are contexts that take arguments."""
    return kind is nd.DeviceArray or dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")
