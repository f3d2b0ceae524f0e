"""The package itself, measured like the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import normdrop
from normdrop import _core
from normdrop.benchmark.cases import DROP_PROBABILITY, Case
from normdrop.benchmark.data import Array, CaseData, given
from normdrop.benchmark.peers import Unsupported, Work

_RNG = (2014, 0)


def create(threads: int) -> Ours:
    """Make the adapter, limited to so many threads."""
    normdrop.set_num_threads(threads)
    return Ours()


class Ours:
    """Calls the public functions with their default settings."""

    def version(self) -> str:
        """Tell the version of the library."""
        return f"{normdrop.__version__} ({normdrop.show_config('dict')['backend']})"

    def drop_caches(self) -> None:
        """Give recycled memory back."""
        normdrop.release_pool()

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        builders = {
            ("dropout", "forward"): _dropout_forward,
            ("dropout", "backward"): _dropout_backward,
            ("layer_norm", "forward"): _layer_norm_forward,
            ("layer_norm", "backward"): _layer_norm_backward,
            ("batch_norm", "forward"): _batch_norm_forward,
            ("batch_norm", "backward"): _batch_norm_backward,
            ("batch_norm", "inference"): _batch_norm_inference,
        }
        if (case.op, case.direction) not in builders:
            raise Unsupported(f"no {case.op} {case.direction}")
        return builders[case.op, case.direction](case, data)


def _variants(call: partial[Any], data: CaseData) -> dict[str, Callable[[], Any]]:
    """Offer the work with ``out=``, and copies of an array of the same size."""
    target = np.empty_like(data.x)
    # Touch the pages, or the first call would pay for them.
    target.fill(0)
    copy = partial(_core.copy_bandwidth_kernel, _as_float32(target), _as_float32(data.x))
    return {
        "out": partial(call, out=target),
        "copy_plain": partial(copy, False),
        "copy_streaming": partial(copy, True),
    }


def _as_float32(array: Array) -> Array:
    """View the same bytes as one row of float32, which is what the copy takes."""
    return array.reshape(-1).view(np.float32)


def _only(y: Array) -> tuple[Array, ...]:
    return (y,)


def _first(result: tuple[Any, ...]) -> tuple[Array, ...]:
    return (result[0],)


def _dropout_forward(case: Case, data: CaseData) -> Work:
    call = partial(normdrop.dropout, data.x, DROP_PROBABILITY, rng=_RNG)
    return Work(call, _only, _variants(call, data))


def _dropout_backward(case: Case, data: CaseData) -> Work:
    _, mask = normdrop.dropout_forward(data.x, DROP_PROBABILITY, rng=_RNG)
    call = partial(normdrop.dropout_backward, given(data.grad_output), mask)
    return Work(call, _only, _variants(call, data), mask.keep)


def _layer_norm_forward(case: Case, data: CaseData) -> Work:
    call = partial(normdrop.layer_norm, data.x, data.weight, data.bias)
    return Work(call, _only, _variants(call, data))


def _layer_norm_backward(case: Case, data: CaseData) -> Work:
    _, stats = normdrop.layer_norm_forward(data.x, data.weight, data.bias)
    arguments = (given(data.grad_output), data.x, stats, data.weight)
    call = partial(normdrop.layer_norm_backward, *arguments)
    return Work(call, tuple, _variants(call, data))


def _batch_norm_forward(case: Case, data: CaseData) -> Work:
    arguments = (data.x, data.weight, data.bias)
    call = partial(normdrop.batch_norm_forward, *arguments, channel_axis=case.channel_axis)
    return Work(call, _first, _variants(call, data))


def _batch_norm_backward(case: Case, data: CaseData) -> Work:
    axis = case.channel_axis
    _, stats = normdrop.batch_norm_forward(data.x, data.weight, data.bias, channel_axis=axis)
    arguments = (given(data.grad_output), data.x, stats, data.weight)
    call = partial(normdrop.batch_norm_backward, *arguments, channel_axis=axis)
    return Work(call, tuple, _variants(call, data))


def _batch_norm_inference(case: Case, data: CaseData) -> Work:
    running = (given(data.running_mean), given(data.running_var))
    arguments = (data.x, *running, data.weight, data.bias)
    call = partial(normdrop.batch_norm, *arguments, channel_axis=case.channel_axis)
    return Work(call, _only, _variants(call, data))
