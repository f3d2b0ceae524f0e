"""Scale and shift against its definition: what holds of it alone."""

from __future__ import annotations

import numpy as np

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits


def test_powers_of_two_are_exact(backend):
    x = normal((5, 7, 33), np.float32, "x")
    got = nd.scale_shift(x, np.full(7, 0.25, np.float32))
    assert_same_bits(got, x * np.float32(0.25))


def test_without_parameters_it_is_a_copy(backend):
    x = normal((5, 7, 33), np.float32, "x")
    y = nd.scale_shift(x)
    assert_same_bits(y, x)
    assert y is not x


def test_a_gradient_is_rounded_once(backend):
    """Sums are in double: cancelling terms leave what float32 would lose."""
    grad = np.array([[1e8], [1.0], [-1e8]], np.float32)
    ones = np.ones((3, 1), np.float32)
    assert nd.scale_shift_backward(grad, ones, parameter((1,), np.float32, "w")).bias == 1.0
