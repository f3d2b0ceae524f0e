"""Alpha dropout (Klambauer et al., 2017): dropping that keeps mean 0 and variance 1."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from .dropout import (
    RandomSource,
    ReferenceMask,
    arithmetic,
    keep_threshold,
    rounded_once,
    seed_and_call,
)
from .moments import AnyArray
from .philox import Axes

SELU_SCALE = Decimal("1.050700987355480493419334985294606351958981204376405")  # lambda
SELU_ALPHA = Decimal("1.673263242354377284817042991671652038461155348281216")


def alpha_dropout_constants(p: float, dtype: npt.DTypeLike) -> tuple[Any, Any, Any]:
    """Return a, b and what a dropped element becomes, each rounded once.

    With q the exact probability of keeping and alpha' = -lambda * alpha:
    ``a = (q + alpha'**2 * q * (1 - q)) ** -0.5``, ``b = -a * (1 - q) * alpha'``, and
    ``a * alpha' + b``.
    """
    threshold = keep_threshold(p)
    if threshold == 0:  # a would be infinite: all of y is 0
        exact: tuple[Decimal, ...] = (Decimal(0), Decimal(0), Decimal(0))
    else:
        with localcontext() as context:
            context.prec = 45
            q = Decimal(threshold) / 2**32
            lowest = -SELU_SCALE * SELU_ALPHA
            a = 1 / (q + lowest * lowest * q * (1 - q)).sqrt()
            b = -a * (1 - q) * lowest
            exact = a, b, a * lowest + b
    a, b, dropped = (rounded_once(Fraction(number), dtype) for number in exact)
    return a, b, dropped


def alpha_dropout(
    x: AnyArray, p: float = 0.5, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> AnyArray:
    """Return ``a * (x if kept else alpha') + b``: mean 0 and variance 1 where x has them."""
    return alpha_dropout_forward(x, p, rng=rng, shared_axes=shared_axes)[0]


def alpha_dropout_forward(
    x: AnyArray, p: float = 0.5, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> tuple[AnyArray, ReferenceMask]:
    """``alpha_dropout`` together with its mask.

    The product and the sum of a kept element are rounded to float32 (float64 for float64), then to
    the dtype. p = 0 leaves every element as it is, and p = 1 gives 0.
    """
    mask = ReferenceMask(*seed_and_call(rng), p, x.shape, shared_axes)
    a, b, dropped = alpha_dropout_constants(p, x.dtype)
    threshold = keep_threshold(p)
    if threshold == 2**32:
        return x.copy(), mask
    with np.errstate(over="ignore", invalid="ignore"):
        kept = (x.astype(arithmetic(x.dtype)) * a + b).astype(x.dtype)
    return np.where(mask.keep, kept, dropped.astype(x.dtype)), mask


def alpha_dropout_backward(grad_output: AnyArray, mask: Any) -> AnyArray:
    """Multiply by a where an element was kept; the others get 0."""
    a = alpha_dropout_constants(mask.p, grad_output.dtype)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (grad_output * a).astype(grad_output.dtype)
    result: AnyArray = np.where(mask.keep, scaled, np.zeros((), grad_output.dtype))
    return result
