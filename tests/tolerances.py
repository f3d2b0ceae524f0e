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
    mean: float
    inv_std: float
    var: float
    reference: float
    reference_gradient: float
    fence_relative: float
    rounded_share: float = 0.0


# Against exact answers (forward to var) each limit is 1.25 times the worst that any backend, the
# emulated GPU among them, reaches on the rows of the tests: a change that costs accuracy is seen
# long before a promise of docs/numerics.md is broken (2 and 4 units, 8 roundoffs). The worst stands
# behind its limit. Kernels may be better; where one is worse, find out why.
LIMITS = {
    # forward: one rounding of x - mean, one of the bias, one at the end; a plain float32 formula
    #   reaches thousands on the same rows.
    # gradient, parameter_gradient: sums of 4 terms in float; 1.0 where they are in double.
    # mean, inv_std, var: units of double, in which statistics are kept, from plain sums in double.
    # reference: float64 NumPy against float32 kernels, so the reference's own error vanishes; short
    #   sums, and many of them, reach more than the rows above do.
    "float32": Limits(
        forward=1.64,  # 1.31, rows
        gradient=4.5,  # 3.59, rows
        parameter_gradient=1.64,  # 1.31, float32 weight of a bfloat16 layer norm
        mean=5.9,  # 4.66, columns
        inv_std=7.5,  # 6, rows
        var=12.5,  # 10, channels on a GPU
        reference=2.0,  # 1.64
        reference_gradient=4.5,  # 3.53, grad_weight of 65,537 channels
        fence_relative=1e-5,
    ),
    # forward: rounding of the sum of squares, of the product and at the end; baseline without fma.
    # reference: the reference is plain NumPy in the same precision and brings its own error, which
    #   differs between builds of NumPy. A fence only, at a scale that counts the rounding of
    #   x - mean; `forward` is held against exact answers.
    "float64": Limits(
        forward=3.3,  # 2.64, rows on baseline
        gradient=4.75,  # 3.79, columns
        parameter_gradient=1.5,  # 1.2, weight of a layer norm
        mean=1.25,  # 1, rows
        inv_std=2.5,  # 2, channels
        var=3.75,  # 3, channels
        reference=64.0,
        reference_gradient=32.0,
        fence_relative=1e-10,
    ),
    # forward: the last rounding is half a unit; what comes before it is float32's, which is 2**-12
    #   and 2**-15 units here. The rounding to float32 on the way is in these already.
    # rounded_share: an element misses the nearest number only where the exact value lies that close
    #   to the middle between two, which of ordinary data 1 in 2000 does at most; 20 times that.
    # gradient, parameter_gradient: the last rounding is one roundoff of the gradient, which is no
    #   larger than its scale, and is reached; what comes before it is float32's, 2**-10 and 2**-13.
    # mean, inv_std, var: as in float32; few different values round alike, so sums drift further.
    "float16": Limits(
        forward=0.63,  # 0.5
        gradient=1.01,  # 0.99
        parameter_gradient=1.01,  # 0.83
        mean=25.0,  # 20, columns
        inv_std=7.5,  # 6, channels
        var=8.75,  # 7, channels
        reference=0.63,
        reference_gradient=1.01,
        fence_relative=1e-3,
        rounded_share=0.99,
    ),
    "bfloat16": Limits(
        forward=0.63,  # 0.5
        gradient=1.01,  # 0.99
        parameter_gradient=1.01,  # 0.86
        mean=7.5,  # 6, long rows
        inv_std=16.25,  # 13, long rows
        var=16.25,  # 13, long rows
        reference=0.63,
        reference_gradient=1.01,
        fence_relative=8e-3,
        rounded_share=0.99,
    ),
}

# Central differences in double with step h lose about h**2 to the formula and 1e-16 / h to
# rounding: with h = 1e-5 both stay below 1e-9 of the largest gradient.
FINITE_DIFFERENCE_STEP = 1e-5
FINITE_DIFFERENCE_RELATIVE = 1e-8

# Of doubles, where a formula of a known length is compared with the same in NumPy, relative to the
# result: one operation or two, a dozen of them, sums in another order, and 1000 updates of a
# running average, each of which rounds three times.
ONE_ROUNDING = 1e-15
FEW_ROUNDINGS = 1e-14
ANOTHER_ORDER = 1e-13
MANY_UPDATES = 1e-12

# Units of the result's dtype, where roundings can be counted: a gradient with frozen statistics is
# two products, and an update of a running average three sums and products, on either side.
FROZEN_ROUNDINGS = 2.0
UPDATE_ROUNDINGS = 4.0
# Units between an update, or a reciprocal root, on a device and on the host: one each way.
RUNNING_UNITS = 2

# One rounding of a float32 quotient, eightfold.
ONE_ROUNDING_SINGLE = 1e-6

# With two values in a channel x_hat is 1 and -1, and the exact gradient 0: what the roundings of
# the arithmetic leave of its terms.
VANISHING = 1e-6

# Decimal text: the oracles' double-double against 1400 digits, and the last subnormal.
ORACLE_RELATIVE = "1e-31"
SMALLEST_DOUBLE = "5e-324"

# Hand-known answers are quoted to seven or more digits.
HAND_KNOWN_RELATIVE = 1e-7

# Different instruction sets, and different memory orders of one array, may round differently by
# one unit each way.
BETWEEN_BACKENDS = 2.0

# Units of one rounding to the nearest number, where every rounding of a result can be counted, and
# of the arithmetic before it, which has more digits: it leaves 2**-11 of a unit at most (float32
# before float16), and 2**-20 and less where it is of pairs of numbers.
ROUNDING = 0.5 + 1e-3


class GaussianLimits(NamedTuple):
    """What Gaussian dropout has to reach in one dtype."""

    exact: float
    reference: float


# Gaussian dropout, in units at the scale of the larger of x and x * deviation * normal, which are
# added up; docs/numerics.md promises 4.
# float32: half a unit of the factor, which the product may double, and half a unit of the product;
#   what is in double before adds 2**-26 of that. The half types lose 2**-12 (bfloat16: 2**-15) of
#   their unit in float32 and half a unit at the end.
# float64, exact: 1.25 times the worst, 3.1 in 400,000 elements, of a logarithm, a root, a sine,
#   three products and a sum.
# float64, reference: NumPy's own functions, and the rounding of 2 * pi * v, which moves a cosine by
#   up to 4 units of 1: a fence only.
GAUSSIAN = {
    "float32": GaussianLimits(exact=1.5 + 1e-3, reference=1.5 + 1e-3),
    "float64": GaussianLimits(exact=3.9, reference=16.0),
    "float16": GaussianLimits(exact=ROUNDING, reference=ROUNDING),
    "bfloat16": GaussianLimits(exact=ROUNDING, reference=ROUNDING),
}

# Uniform dropout with beta 0.75, in units of 1 against the exact factor: half a unit of the sum
# with 1, and three roundings below 0.75: of the word, of the half added to it and of the product.
UNIFORM_UNITS = 0.5 + 3 * 0.375

# A rate estimated from n draws lies within this many standard deviations, or once in 3e5 runs
# it does not; seeds are fixed, so a pass stays a pass.
KEEP_RATE_DEVIATIONS = 4.5

# Other frameworks compute in float32 throughout and are far less careful than our limits; this
# only catches a wrong formula (names of arguments, momentum, eps).
FRAMEWORK_RELATIVE = 1e-4

# Peers of the check on a GPU, in float32 and by formulas of their own, on data of the order of 1.
PEER_RELATIVE = 1e-3
PEER_ABSOLUTE = 1e-4
# Peers of a sweep, of the largest result or of 1: wrong work shows, and PyTorch's own rounding does
# not, which in the half types loses several units where sets are short and deviations nearly
# cancel.
PEER_BY_DTYPE = {"float64": 1e-9, "float32": 1e-3, "float16": 0.05, "bfloat16": 0.4}
# One unit of bfloat16, against PyTorch in float32.
BFLOAT16_UNIT = 2.0**-7
# Twenty layer norms on end, each of the last one's result, in float32.
CHAIN_RELATIVE = 1e-4
CHAIN_ABSOLUTE = 1e-5
# Shares of 100,000 draws that two generators keep: 6 standard deviations of the difference.
KEEP_RATE_ABSOLUTE = 0.01

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


# Gradients of weight norm's g and of PReLU's weight, and sums of a batch norm's gradients, as
# parameter_gradient: sums of few terms, each of which is a product that is rounded, and g's are
# divided by a norm.
PRODUCT_SUMS = {
    "float32": 2.2,  # 1.73, units of one element
    "float64": 2.5,  # 2.01, units of seven
    "float16": 1.01,  # 0.94
    "bfloat16": 1.01,
}

# Merged statistics, in units of double, against what their parts say: rounded once, from sums of
# two doubles.
MERGED_UNITS = 1.0

# Roundoffs that a fused gradient of x may have beside those of the residual's, of which it is
# dropout: that one may be rounded before, and the product is rounded after.
FUSED_GRADIENT_ROUNDOFFS = 2.0


def parts_from_whole(dtype: np.dtype | type) -> float:
    """Units between y of parts, at their merged statistics, and y of the whole.

    The statistics differ in their last digits, which single precision does not hold; both results
    are then rounded from the same number but for ties. float64 has no digits to spare, and the
    whole is normalised by statistics with more digits than are kept of them.
    """
    return 2.0 * limits(dtype).forward if np.dtype(dtype) == np.float64 else 1.0


def limits(dtype: np.dtype | type) -> Limits:
    """The limits of a dtype."""
    return LIMITS[np.dtype(dtype).name]
