"""The functions of dropout's family, each with its definition and how close it must come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ml_dtypes import finfo

import normdrop as nd
from comparing import assert_same_bits, assert_within
from normdrop import reference
from tolerances import GAUSSIAN

Array = npt.NDArray[Any]


class Function(NamedTuple):
    """A function, with a strength that leaves no element as it was."""

    plain: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    check_forward: Callable[[Array, Array, Any, Any], None]
    check_backward: Callable[[Array, Any], None]


def _exact(name: str, strength: float) -> Function:
    """The same bits as the definition."""
    plain, forward, backward = (getattr(nd, name + end) for end in ("", "_forward", "_backward"))
    defined = getattr(reference, f"{name}_forward")
    defined_backward = getattr(reference, f"{name}_backward")

    def check_forward(x: Array, y: Array, rng: Any, axes: Any, message: str = "") -> None:
        expected, _ = defined(x, strength, rng=rng, shared_axes=axes)
        assert_same_bits(y.copy(), expected, f"{axes} {message}")

    def check_backward(grad: Array, mask: Any) -> None:
        assert_same_bits(backward(grad, mask), defined_backward(grad, mask))

    return Function(
        lambda x, **rest: plain(x, strength, **rest),
        lambda x, **rest: forward(x, strength, **rest),
        backward,
        check_forward,
        check_backward,
    )


def _gaussian(strength: float) -> Function:
    """Some units of the definition in double."""

    def check_backward(grad: Array, mask: Any) -> None:
        _check_factors(nd.gaussian_dropout_backward(grad, mask), grad, mask)

    def check_forward(x: Array, y: Array, rng: Any, axes: Any, message: str = "") -> None:
        _, mask = reference.gaussian_dropout_forward(x, strength, rng=rng, shared_axes=axes)
        _check_factors(y, x, mask, f"{axes} {message}")

    return Function(
        lambda x, **rest: nd.gaussian_dropout(x, strength, **rest),
        lambda x, **rest: nd.gaussian_dropout_forward(x, strength, **rest),
        nd.gaussian_dropout_backward,
        check_forward,
        check_backward,
    )


def _check_factors(y: Array, x: Array, mask: Any, message: str = "") -> None:
    """In units at the scale of the larger of x and what is added to it."""
    factor = reference.gaussian_factor(mask)
    wide = np.abs(x.astype(np.float64))
    scale = wide * np.maximum(np.maximum(np.abs(factor), np.abs(factor - 1)), 1)
    exact = x.astype(np.float64) * factor
    units = np.abs(y.astype(np.float64) - exact) / units_at(scale, x.dtype)
    assert y.dtype == x.dtype and y.shape == x.shape
    assert_within(units, GAUSSIAN[np.dtype(x.dtype).name].reference, message)


def units_at(scale: Array, dtype: npt.DTypeLike) -> Array:
    """The spacing of a dtype's numbers at a scale."""
    of = finfo(dtype)
    _, exponent = np.frexp(np.maximum(scale, float(of.tiny)))
    return np.ldexp(float(of.eps), exponent - 1)


FAMILY = {
    "dropout": _exact("dropout", 0.4),
    "alpha_dropout": _exact("alpha_dropout", 0.4),
    "uniform_dropout": _exact("uniform_dropout", 0.3),
    "gaussian_dropout": _gaussian(0.4),
}


def forward_is_the_definition(
    function: str, x: Array, rng: Any, axes: Any, message: str = ""
) -> None:
    """One call of a function of the family."""
    call = FAMILY[function]
    y, mask = call.forward(x, rng=rng, shared_axes=axes)
    call.check_forward(x, y, rng, axes, message)
    assert mask.shape == x.shape
    assert_same_bits(call.plain(x, rng=rng, shared_axes=axes), y)
