"""Uniform dropout, or Uout (Li et al., 2019): factors 1 + r with r uniform."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .dropout import RandomSource, arithmetic, seed_and_call
from .moments import AnyArray
from .philox import Axes, words_of


class ReferenceUniformMask(NamedTuple):
    """By which numbers factors are drawn."""

    seed: int
    call: int
    beta: float
    shape: tuple[int, ...]
    shared_axes: Axes = ()


def uniform_factor(mask: Any, dtype: Any) -> AnyArray:
    """``1 + scale * ((word - 2**31) + 0.5)`` with ``scale = beta / 2**31``.

    That is 1 + r with ``r = beta * (2 * (word + 0.5) / 2**32 - 1)``; every step is rounded to
    float32, or float64 for float64.
    """
    real = arithmetic(dtype)
    words = words_of(mask.seed, mask.call, mask.shape, mask.shared_axes)
    place = (words.astype(np.int64) - 2**31).astype(real) + real(0.5)
    result: AnyArray = real(1) + real(mask.beta / 2**31) * place
    return result


def uniform_dropout(
    x: AnyArray, beta: float = 0.1, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> AnyArray:
    """``x * (1 + r)``, r uniform from ``-beta`` to ``beta``."""
    return uniform_dropout_forward(x, beta, rng=rng, shared_axes=shared_axes)[0]


def uniform_dropout_forward(
    x: AnyArray, beta: float = 0.1, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> tuple[AnyArray, ReferenceUniformMask]:
    """``uniform_dropout`` together with its mask."""
    mask = ReferenceUniformMask(*seed_and_call(rng), beta, x.shape, shared_axes)
    return uniform_dropout_backward(x, mask), mask


def uniform_dropout_backward(grad_output: AnyArray, mask: Any) -> AnyArray:
    """Multiply by the same factors; the product is rounded as they are, then to the dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = grad_output * uniform_factor(mask, grad_output.dtype)
    result: AnyArray = product.astype(grad_output.dtype)
    return result
