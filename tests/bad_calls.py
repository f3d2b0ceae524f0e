"""The table of wrong calls behind test_bad_input: every argument of every public function."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from operator import itemgetter

import numpy as np

import normdrop as nd
from bad_arrays import Arguments, Bad, array_cases, constant
from bad_outputs import out_cases, read_only
from bad_values import OF_NAME, OF_ROLE, Wrong
from good_calls import put
from public_functions import DESCRIBED, FUNCTIONS, good_arguments

RESULTS = {"NormStats": "BatchStats", "BatchStats": "NormStats"}


def scalar_cases(function: str) -> Iterator[Bad]:
    """Numbers, flags, axes and names; after a description those of the role."""
    for argument, values in _wrong_values(function).items():
        for wrong, error, words in values:
            label = f"{type(wrong).__name__} {wrong!r:.20}"
            yield Bad(function, argument, label, constant(wrong), error, words)


def _wrong_values(function: str) -> dict[str, list[Wrong]]:
    if function not in DESCRIBED:
        return {name: OF_NAME[name] for name in good_arguments(function) if name in OF_NAME}
    described = DESCRIBED[function]
    roles = {role.name: role.role for role in described.passed()}
    for role in described.roles:
        if role.role == "count_of_statistics":
            roles[f"{role.of}.{role.name}"] = role.role
    if described.passed("draw") and "rng" in described.signature:
        roles |= {"p": "probability", "rng": "random_source"}
    found = {name: OF_ROLE[role] for name, role in roles.items() if role in OF_ROLE}
    if described.kind == "channel_groups":
        axis = described.passed("channel_axis")[0].name
        found[axis] = [*found[axis], (0, ValueError, ("must not be 0",))]
    return found


def stats_cases(function: str) -> Iterator[Bad]:
    """Objects of another class of results."""
    kinds = {"stats": "BatchStats"} if function == "update_running_stats" else {}
    if function in DESCRIBED:
        kinds = {role.name: role.type for role in DESCRIBED[function].passed("statistics")}
    for argument, kind in kinds.items():
        other = RESULTS.get(kind, "NormStats")
        values = (np.zeros(7), np.ones(7), np.ones(7), 55)
        wrong = getattr(nd, other)(*values[: len(getattr(nd, other)._fields)])
        got = partial(Bad, function, argument, error=TypeError)
        yield got(other, constant(wrong), words=(kind, f"got .*{other}"))
        yield got("a tuple", constant(values), words=(kind, "got tuple"))
        yield got("None", constant(None), words=(kind, "got NoneType"))


def shape_cases(function: str) -> Iterator[Bad]:
    """An x of too few axes, or with too few values in a set."""
    if function not in DESCRIBED:
        return
    described, f4 = DESCRIBED[function], np.float32
    bad = partial(Bad, function, described.leader, error=ValueError)
    if described.kind == "over_axes" and "." not in described.leader:  # that of its mask is checked
        yield bad("of no axis", constant(np.array(1, f4)), words=("got", "()"))
    elif described.least_axes > 1:
        yield bad("of one axis", constant(np.ones(7, f4)), words=("at least 2", "got", "(7,)"))
    if described.least_values:
        words = (f"at least {described.least_values} values per channel", "got 1")
        yield bad("with one value per channel", lambda a: a["x"][:1, :, :1].copy(), words=words)


def running_cases() -> Iterator[Bad]:
    """Where running statistics cannot be written, and what is no statistic of a channel."""
    update, two_axes = "update_running_stats", np.ones((7, 1))
    value = partial(Bad, error=ValueError)
    broadcast = np.lib.stride_tricks.as_strided(np.ones(1, np.float32), (7,), (0,))
    for argument in ("running_mean", "running_var"):
        frozen = partial(_frozen, argument)
        yield value(update, argument, "read-only", frozen, words=("writeable", "read-only"))
        yield value(update, argument, "broadcast", constant(broadcast), words=("once", "got"))
        for field in ("mean", "var"):
            name = f"stats.{field}"
            own, shared = partial(_own_statistic, field), partial(_shared_statistic, field)
            yield value(update, argument, f"{name} itself", own, words=(name, "overlaps"))
            yield value(update, argument, f"behind {name}", shared, words=(name, "overlaps"))
    itself = itemgetter("running_mean")
    words = ("running_mean", "overlaps")
    yield value(update, "running_var", "running_mean itself", itself, words=words)
    for function, argument in ((update, "stats.mean"), ("BatchStats.from_running", "running_mean")):
        words = ("1-D", "got", "(7, 1)")
        yield value(function, argument, "of two axes", constant(two_axes), words=words)
    for count in (0, 1):
        words = ("correction", f"got {count}")
        yield value(update, "stats.count", f"{count}", constant(count), words=words)


def _frozen(argument: str, arguments: Arguments) -> np.ndarray:
    return read_only(arguments[argument])


def _own_statistic(field: str, arguments: Arguments) -> np.ndarray:
    return getattr(arguments["stats"], field)


def _shared_statistic(field: str, arguments: Arguments) -> np.ndarray:
    """Of every element of a statistic but the first, and one more."""
    line = np.append(_own_statistic(field, arguments), 1.0)
    put(arguments, f"stats.{field}", line[:-1])
    return line[1:]


def all_cases() -> Iterator[Bad]:
    for cases in (array_cases, out_cases, scalar_cases, stats_cases, shape_cases):
        for function in FUNCTIONS:
            yield from cases(function)
    yield from running_cases()


CASES = list(all_cases())
