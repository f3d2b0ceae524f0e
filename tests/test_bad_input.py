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
from bad_calls import CASES, FUNCTIONS, Bad, find, good_arguments
from cases import HALF_TYPES


def with_bad(arguments: dict[str, Any], bad: Bad) -> dict[str, Any]:
    """The good arguments with one wrong value, or with one wrong field."""
    wrong = bad.value(arguments)
    head, _, field = bad.argument.partition(".")
    value = arguments[head]._replace(**{field: wrong}) if field else wrong
    return {**arguments, head: value}


def snapshot(arguments: dict[str, Any]) -> list[bytes]:
    arrays: list[np.ndarray] = []
    for value in arguments.values():
        parts = value if isinstance(value, tuple) else (value,)
        arrays += [part for part in parts if isinstance(part, np.ndarray) and part.dtype != object]
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
    functions = {name for name in nd.__all__ if callable(getattr(nd, name))}
    without_arguments = {"backends", "get_num_threads", "release_pool"}
    results = {"NormStats", "Gradients", "BatchStats", "DeviceArray"}
    assert functions - without_arguments - results == set(FUNCTIONS) - {"BatchStats.from_running"}


def test_keyword_only_arguments():
    for function in ("layer_norm", "batch_norm_forward", "dropout"):
        kinds = {p.name: p.kind for p in inspect.signature(find(function)).parameters.values()}
        assert kinds["out"] is inspect.Parameter.KEYWORD_ONLY


HALF_CALLS = {
    "layer_norm": lambda x, w, b: nd.layer_norm(x, w, b),
    "layer_norm_forward": lambda x, w, b: nd.layer_norm_forward(x, w, b),
    "batch_norm": lambda x, w, b: nd.batch_norm(x, np.zeros(5), np.ones(5), w, b),
    "batch_norm_forward": lambda x, w, b: nd.batch_norm_forward(x, w, b),
}


@pytest.mark.parametrize("x_dtype", HALF_TYPES)
@pytest.mark.parametrize("function", HALF_CALLS)
def test_parameters_of_half_types(function, x_dtype):
    """The dtype of x or float32, and the same for both: anything else names what came."""
    call, x, own = HALF_CALLS[function], np.ones((3, 5), x_dtype), np.dtype(x_dtype).name
    other = HALF_TYPES[1 - HALF_TYPES.index(x_dtype)]
    for good in (x_dtype, np.float32):
        call(x, np.ones(5, good), np.ones(5, good))
    for wrong in (np.float64, other):
        expected = f"must have dtype {own} as x has, or float32, got {np.dtype(wrong).name}"
        with pytest.raises(TypeError, match=f"^{function}: weight {expected}$"):
            call(x, np.ones(5, wrong), None)
        with pytest.raises(TypeError, match=f"^{function}: bias {expected}$"):
            call(x, None, np.ones(5, wrong))
    for weight, bias in ((x_dtype, np.float32), (np.float32, x_dtype)):
        expected = f"{np.dtype(weight).name} as weight has, got {np.dtype(bias).name}"
        with pytest.raises(TypeError, match=f"^{function}: bias must have dtype {expected}$"):
            call(x, np.ones(5, weight), np.ones(5, bias))


@pytest.mark.parametrize("x_dtype", HALF_TYPES)
def test_arrays_beside_half_types(x_dtype):
    """Everything but the parameters has the dtype of x, and statistics never have."""
    x, own = np.ones((3, 5), x_dtype), np.dtype(x_dtype).name
    rows, wide = nd.NormStats(np.zeros(3), np.ones(3)), np.ones((3, 5), np.float32)
    with pytest.raises(TypeError, match=f"grad_output must have dtype {own}, got float32"):
        nd.layer_norm_backward(wide, x, rows)
    for call in (nd.layer_norm, nd.batch_norm_forward, nd.dropout):
        with pytest.raises(TypeError, match=f"out must have dtype {own}, got float32"):
            call(x, out=wide)
    with pytest.raises(TypeError, match=f"stats.mean must have dtype float64, got {own}"):
        nd.layer_norm_backward(x, x, nd.NormStats(np.zeros(3, x_dtype), np.ones(3)))
    running = np.ones(5, x_dtype)
    expected = f"running_mean must have dtype float32 or float64, got {own}"
    with pytest.raises(TypeError, match=expected):
        nd.batch_norm(x, running, np.ones(5))
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
