"""Gaussian dropout (Srivastava et al., 2014): normal factors with the variance of dropout."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .dropout import RandomSource, seed_and_call
from .moments import AnyArray, FloatArray
from .philox import Axes, drawn_shape, words_by_index


class ReferenceGaussianMask(NamedTuple):
    """By which numbers factors are drawn."""

    seed: int
    call: int
    p: float
    shape: tuple[int, ...]
    shared_axes: Axes = ()


def normals(seed: int, call: int, count: int) -> FloatArray:
    """Make normal numbers by Box and Muller of pairs of words, u and v = (word + 0.5) / 2**32.

    Numbers 2 k and 2 k + 1 are ``sqrt(-2 * log(u)) * (cos(2 * pi * v), sin(2 * pi * v))`` with the
    words 2 k and 2 k + 1.
    """
    words = words_by_index(seed, call, 0, count + count % 2).reshape(-1, 2)
    u, v = ((words.astype(np.float64) + 0.5) / 2**32).T
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * v
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(-1)[:count]


def gaussian_factor(mask: Any) -> FloatArray:
    """``1 + (p / (1 - p)) ** 0.5 * normal`` for every element."""
    drawn = drawn_shape(mask.shape, mask.shared_axes)
    draws = normals(mask.seed, mask.call, math.prod(drawn)).reshape(drawn)
    factors = 1.0 + math.sqrt(mask.p / (1.0 - mask.p)) * draws
    return np.broadcast_to(factors, mask.shape)


def gaussian_dropout(
    x: AnyArray, p: float = 0.5, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> FloatArray:
    """``x * n``, n normal with mean 1 and variance ``p / (1 - p)``; float64, not rounded."""
    return gaussian_dropout_forward(x, p, rng=rng, shared_axes=shared_axes)[0]


def gaussian_dropout_forward(
    x: AnyArray, p: float = 0.5, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> tuple[FloatArray, ReferenceGaussianMask]:
    """``gaussian_dropout`` together with its mask."""
    mask = ReferenceGaussianMask(*seed_and_call(rng), p, x.shape, shared_axes)
    return gaussian_dropout_backward(x, mask), mask


def gaussian_dropout_backward(grad_output: AnyArray, mask: Any) -> FloatArray:
    """Multiply by the same factors."""
    result: FloatArray = grad_output.astype(np.float64) * gaussian_factor(mask)
    return result
