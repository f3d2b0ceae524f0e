"""Every argument of every function, given wrongly: the exception and what its message says.

A message names the function and the argument, what was expected and what came. All checks come
before the first write: neither the inputs nor ``out`` may have changed.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import normdrop as nd
from bad_arrays import Bad
from bad_calls import CASES
from cases import HALF_TYPES
from described import flat
from good_calls import get, with_changed
from public_functions import CASES as CALLS
from public_functions import (
    DESCRIBED,
    FUNCTIONS,
    array_roles,
    find,
    good_arguments,
    public_functions,
)


def with_bad(arguments: dict[str, Any], bad: Bad) -> dict[str, Any]:
    """The good arguments with one wrong value, or with one wrong field."""
    wrong = bad.value(arguments)
    return with_changed(arguments, bad.argument, wrong)


def snapshot(arguments: dict[str, Any]) -> list[bytes]:
    parts = [part for value in arguments.values() for part in flat(value)]
    arrays = [part for part in parts if isinstance(part, np.ndarray) and part.dtype != object]
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("bad", CASES, ids=lambda b: f"{b.function}-{b.argument}-{b.label}")
def test_bad_input(bad):
    arguments = with_bad(good_arguments(bad.function), bad)
    before = snapshot(arguments)
    with pytest.raises(bad.error) as caught:
        find(bad.function)(**arguments)
    assert type(caught.value) is bad.error, "a subclass of the promised exception"
    message = str(caught.value)
    assert message.startswith(f"{bad.function}: "), message
    assert re.search(rf": {re.escape(bad.argument)}\b", message), message
    for word in bad.words:
        pattern = word if ".*" in word else re.escape(word)
        assert re.search(pattern, message), f"{word!r} not in {message!r}"
    assert snapshot(arguments) == before, "something was written before the check"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_arguments_are_good(function):
    """Otherwise the table above would prove nothing."""
    arguments = good_arguments(function)
    before = nd.get_num_threads(), nd.show_config("dict")["pool_limit_bytes"]
    backend = nd.show_config("dict")["backend"]
    find(function)(**arguments)
    nd.set_num_threads(before[0])
    nd.set_pool_limit(before[1])
    nd.use_backend(backend)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_argument_is_in_the_table(function):
    parameters = inspect.signature(find(function)).parameters
    tested = {bad.argument.partition(".")[0] for bad in CASES if bad.function == function}
    assert set(parameters) - {"self", "cls"} == tested == set(good_arguments(function))


def test_every_public_function_is_in_the_table():
    assert public_functions() == set(FUNCTIONS) - {"BatchStats.from_running"}


WITH_PARAMETERS = [name for name in DESCRIBED if DESCRIBED[name].arrays("parameter")]


@pytest.mark.parametrize("x_dtype", HALF_TYPES)
@pytest.mark.parametrize("function", WITH_PARAMETERS)
def test_parameters_of_half_types(function, x_dtype):
    """The dtype of x or float32, and the same for all: anything else names what came."""
    call, leader = find(function), DESCRIBED[function].leader
    names, own = DESCRIBED[function].arrays("parameter"), np.dtype(x_dtype).name
    arguments = CALLS[function].arguments(x_dtype)

    def changed(**dtypes) -> dict[str, Any]:
        """These parameters in other dtypes, and none of the rest."""
        absent = dict.fromkeys(names)
        return arguments | absent | {k: arguments[k].astype(v) for k, v in dtypes.items()}

    other = HALF_TYPES[1 - HALF_TYPES.index(x_dtype)]
    for good in (x_dtype, np.float32):
        call(**changed(**dict.fromkeys(names, good)))
    for wrong in (np.float64, other):
        expected = f"must have dtype {own} as {leader} has, or float32, got {np.dtype(wrong).name}"
        for name in names:
            with pytest.raises(TypeError, match=f"^{function}: {name} {expected}$"):
                call(**changed(**{name: wrong}))
    for first, second in ((x_dtype, np.float32), (np.float32, x_dtype)) if names[1:] else ():
        expected = f"{np.dtype(first).name} as {names[0]} has, got {np.dtype(second).name}"
        with pytest.raises(TypeError, match=f"^{function}: {names[1]} must have dtype {expected}$"):
            call(**changed(**{names[0]: first, names[1]: second}))


OF_HALF_TYPES = {
    "like": (np.float32, "must have dtype {own}, got float32"),
    "result": (np.float32, "must have dtype {own}, got float32"),
    "statistic": (None, "must have dtype float64, got {own}"),
    "statistics": (None, "must have dtype float64, got {own}"),
    "running": (None, "must have dtype float32 or float64, got {own}"),
}


@pytest.mark.parametrize("x_dtype", HALF_TYPES)
@pytest.mark.parametrize("function", CALLS)
def test_arrays_beside_half_types(function, x_dtype):
    """Everything but the parameters has the dtype of x, and statistics never have."""
    own = np.dtype(x_dtype).name
    good = CALLS[function].arguments(x_dtype)
    for argument, role in array_roles(function).items():
        wrong, expected = OF_HALF_TYPES.get(role, (None, ""))
        if not expected:
            continue
        array = np.ones(CALLS[function].shape) if argument == "out" else get(good, argument)
        arguments = with_changed(good, argument, array.astype(wrong or x_dtype))
        text = re.escape(f"{function}: {argument} {expected.format(own=own)}")
        with pytest.raises(TypeError, match=text):
            find(function)(**arguments)


@pytest.mark.parametrize("x_dtype", HALF_TYPES)
def test_running_statistics_of_half_types(x_dtype):
    running = np.ones(5, x_dtype)
    expected = f"running_mean must have dtype float32 or float64, got {np.dtype(x_dtype).name}"
    with pytest.raises(TypeError, match=expected):
        nd.BatchStats.from_running(running, np.ones(5))


@pytest.mark.frameworks
def test_host_tensors_are_told_how_to_become_arrays():
    """The message names .numpy(), and .detach() where a gradient is wanted."""
    torch = pytest.importorskip("torch")
    x = np.ones((3, 5), np.float32)
    for tensor in (torch.ones(3, 5), torch.ones(3, 5, requires_grad=True)):
        for call in (
            lambda t: nd.layer_norm(t),
            lambda t: nd.dropout(t),
            lambda t: nd.layer_norm(x, t),
            lambda t: nd.layer_norm(x, out=t),
        ):
            with pytest.raises(TypeError, match=r"Tensor.*\.numpy\(\)"):
                call(tensor)
    with pytest.raises(TypeError, match="detach"):
        nd.layer_norm(torch.ones(3, 5, requires_grad=True))


def test_numpy_scalars_are_numbers():
    """eps, p and axes may come out of an array."""
    x = np.ones((3, 5), np.float32)
    nd.layer_norm(x, eps=np.float32(1e-5), axis=np.int64(1))
    nd.layer_norm(x, eps=np.float64(1e-5), axis=(np.int32(1),))
    nd.layer_norm(x, eps=0, axis=-1)
    nd.batch_norm_forward(x, channel_axis=np.int8(1), eps=1)
    nd.dropout(x, np.float32(0.5), rng=np.uint64(2**64 - 1))
    nd.dropout(x, 0, rng=(np.int64(1), np.uint32(2)))


def test_weight_of_another_size_is_never_read():
    """A missing check reads past the end (D18)."""
    x = np.ones((3, 1000), np.float32)
    for size in (0, 1, 999, 1001):
        with pytest.raises(ValueError, match=rf"weight must have shape \(1000,\), got \({size},\)"):
            nd.layer_norm(x, np.ones(size, np.float32))
