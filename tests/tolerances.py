"""The one table of limits. A limit that stands anywhere else in the tests is a mistake.

Units
-----
Forward results are judged in units of the last place of the output dtype at the scale of the
largest thing added up to make an element: max(|y|, |weight * x_hat|, |bias|, smallest normal).
Gradients are judged in units of roundoff (half a unit of the last place of 1) times the
condition of their formula: see ``oracles.gradient_scale``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Limits(NamedTuple):
    """What one dtype has to reach."""

    forward: float
    gradient: float
    parameter_gradient: float
    reference: float
    inv_std: float
    mean: float
    fence_relative: float
    rounded_share: float = 0.0


LIMITS = {
    # forward: the mean as a pair of floats, inv_std * weight beyond float32 and one closing fma
    #   come to 1.93 at most; a plain float32 formula reaches thousands on the same rows.
    # gradient, parameter_gradient: two products and two differences in float32 after sums in
    #   double; each rounding is at most one unit of the scale.
    # reference: float64 NumPy against float32 kernels, so the reference's own error vanishes.
    # inv_std, mean: units of double, in which statistics are kept. Plain sums in double may lose
    #   a unit for every few terms; 128 of them are 3e-14, far below what float32 data can show.
    "float32": Limits(
        forward=2.0,
        gradient=8.0,
        parameter_gradient=8.0,
        reference=2.0,
        inv_std=128.0,
        mean=128.0,
        fence_relative=1e-5,
    ),
    # forward: with everything in double the sum of the squares is the longest chain; four units
    #   leave room for it and nothing for a rounded mean.
    # inv_std, mean: what four units forward need.
    # reference: the reference is plain NumPy in the same precision and brings its own error. A
    #   fence only, at a scale that counts the rounding of x - mean; `forward` is held against
    #   exact answers.
    "float64": Limits(
        forward=4.0,
        gradient=8.0,
        parameter_gradient=8.0,
        reference=64.0,
        inv_std=8.0,
        mean=4.0,
        fence_relative=1e-10,
    ),
    # forward: the last rounding is half a unit; what comes before it is float32's 2 units, which
    #   are 2**-12 and 2**-15 units here. The rounding to float32 on the way is in these already.
    # rounded_share: an element misses the nearest number only where the exact value lies that close
    #   to the middle between two, which of ordinary data 1 in 2000 does at most; 20 times that.
    # gradient, parameter_gradient: the last rounding is one roundoff of the gradient, which is no
    #   larger than its scale; what comes before it is float32's 8 roundoffs, 2**-10 and 2**-13.
    # reference, inv_std, mean: as in float32, and for the same reasons.
    "float16": Limits(
        forward=1.0,
        gradient=1.01,
        parameter_gradient=1.01,
        reference=1.0,
        inv_std=128.0,
        mean=128.0,
        fence_relative=1e-3,
        rounded_share=0.99,
    ),
    "bfloat16": Limits(
        forward=1.0,
        gradient=1.01,
        parameter_gradient=1.01,
        reference=1.0,
        inv_std=128.0,
        mean=128.0,
        fence_relative=8e-3,
        rounded_share=0.99,
    ),
}

# Central differences in double with step h lose about h**2 to the formula and 1e-16 / h to
# rounding: with h = 1e-5 both stay below 1e-9 of the largest gradient.
FINITE_DIFFERENCE_STEP = 1e-5
FINITE_DIFFERENCE_RELATIVE = 1e-8

# Hand-known answers are quoted to seven or more digits.
HAND_KNOWN_RELATIVE = 1e-7

# Different instruction sets, and different memory orders of one array, may round differently by
# one unit each way.
BETWEEN_BACKENDS = 2.0

# Units of one rounding to the nearest number, where every rounding of a result can be counted, and
# of the arithmetic before it, which has more digits: it leaves 2**-11 of a unit at most (float32
# before float16), and 2**-20 and less where it is of pairs of numbers.
ROUNDING = 0.5 + 1e-3

# A rate estimated from n draws lies within this many standard deviations, or once in 3e5 runs
# it does not; seeds are fixed, so a pass stays a pass.
KEEP_RATE_DEVIATIONS = 4.5

# Other frameworks compute in float32 throughout and are far less careful than our limits; this
# only catches a wrong formula (names of arguments, momentum, eps).
FRAMEWORK_RELATIVE = 1e-4

# An element nearer to the mean than this many standard deviations is judged as if it were that far
# off. Not float64: sums of deviations are doubles, whose last digits are 2**-53 of a deviation for
# every few terms, and 2**-32 leaves 2**-21 of the element for them. float64: times |mean| / std
# where that is above 1; the mean is a sum of two doubles, of about 2**-105 of itself.
NEAREST_TO_THE_MEAN = {
    "float32": 2.0**-32,
    "float64": 2.0**-52,
    "float16": 2.0**-32,
    "bfloat16": 2.0**-32,
}

# A test that perturbs a result by this factor of its limit must see the comparison fail.
PERTURBATION = 4.0

# Seconds after which a child process or thread that should have ended counts as hung. An hour: what
# takes minutes alone takes many times as long on a machine that others use too.
HANG_SECONDS = 3600.0


def limits(dtype: np.dtype | type) -> Limits:
    """The limits of a dtype."""
    return LIMITS[np.dtype(dtype).name]
