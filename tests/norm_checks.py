"""Whole calls of RMS, group and instance norm against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

import normdrop as nd
from comparing import (
    Array,
    Axes,
    along,
    assert_statistics,
    assert_within,
    check_gradients,
    forward_units,
    gradient_roundoffs,
    parameter_roundoffs,
    reference_condition,
    split_axes,
)
from normdrop import reference
from normdrop.reference.group_norm import WITHIN_A_GROUP, in_groups, out_of_groups
from tolerances import limits


def check_rms_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    grad: Array,
    *,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> None:
    """Forward, statistics and gradients of one call."""
    inside, outside = split_axes(axis, x.ndim)
    y, stats = nd.rms_norm_forward(x, weight, bias, axis=axis, eps=eps)
    expected, expected_stats = reference.rms_norm_forward(x, weight, bias, axis=axis, eps=eps)
    plain = reference.rms_norm(x, weight, None, axis=axis, eps=eps)
    assert y.dtype == x.dtype and y.shape == x.shape
    assert_within(forward_units(y, expected, plain), limits(x.dtype).reference, "y")
    assert stats.mean is None
    inv_std = expected_stats.inv_std
    assert_statistics(stats.inv_std, inv_std, inv_std, "inv_std")
    got = nd.rms_norm_backward(grad, x, stats, weight, axis=axis, bias=bias is not None)
    want = reference.rms_norm_backward(grad, x, stats, weight, axis=axis, bias=bias is not None)
    shaped = (np.zeros(()), np.expand_dims(stats.inv_std, inside))
    check_gradients(got, want, grad, x, weight, shaped, inside, outside, inside)


def check_group_norm(
    x: Array,
    num_groups: int | None,
    weight: Array | None,
    bias: Array | None,
    grad: Array,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> None:
    """Forward, statistics and gradients of one call: of instance norm without num_groups."""
    options: dict[str, Any] = {"channel_axis": channel_axis}
    name = "instance_norm" if num_groups is None else "group_norm"
    groups = () if num_groups is None else (num_groups,)
    count = x.shape[channel_axis] if num_groups is None else num_groups
    y, stats = getattr(nd, f"{name}_forward")(x, *groups, weight, bias, eps=eps, **options)
    expected, expected_stats = reference.group_norm_forward(
        x, count, weight, bias, eps=eps, **options
    )
    plain = reference.group_norm(x, count, weight, eps=eps, **options)
    grouped = {
        name: in_groups(values, count, channel_axis)
        for name, values in (("x", x), ("y", y), ("expected", expected), ("plain", plain))
    }
    inv_std = np.expand_dims(expected_stats.inv_std, WITHIN_A_GROUP)
    condition = reference_condition(grouped["x"], inv_std, grouped["plain"], WITHIN_A_GROUP)
    assert y.dtype == x.dtype and y.shape == x.shape
    units = forward_units(
        grouped["y"].astype(x.dtype), grouped["expected"], grouped["plain"], condition
    )
    assert_within(units, limits(x.dtype).reference, "y")
    size = np.abs(grouped["x"])
    assert_statistics(stats.mean, expected_stats.mean, size.mean(WITHIN_A_GROUP), "mean")
    own = np.maximum(1.0, size.max(WITHIN_A_GROUP, initial=0.0) * expected_stats.inv_std)
    exact = expected_stats.inv_std
    assert_statistics(stats.inv_std, exact, exact * own, "inv_std")
    backward = getattr(nd, f"{name}_backward")
    got = backward(grad, x, stats, *groups, weight, bias=bias is not None, **options)
    want = reference.group_norm_backward(
        grad, x, stats, count, weight, bias=bias is not None, **options
    )
    check_group_gradients(got, want, grad, x, weight, stats, count, channel_axis)


def check_group_gradients(
    got: nd.Gradients,
    want: nd.Gradients,
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: nd.NormStats,
    num_groups: int,
    channel_axis: int,
) -> None:
    """All three gradients of a group norm against the reference's."""
    channel, others = split_axes(channel_axis, x.ndim)
    mean, inv_std = (np.expand_dims(value, WITHIN_A_GROUP) for value in stats)
    weighted, values, left, right = (
        in_groups(array, num_groups, channel_axis)
        for array in (grad * along(weight, channel, x.ndim), x, got.x, want.x)
    )
    assert got.x.dtype == x.dtype and got.x.shape == x.shape
    errors = gradient_roundoffs(
        left.astype(x.dtype), right, weighted, values, mean, inv_std, WITHIN_A_GROUP
    )
    assert_within(errors, limits(x.dtype).reference_gradient, "grad x")
    x_hat = out_of_groups((values - mean) * inv_std, x.shape, channel_axis)
    for name, term in (("weight", grad * x_hat), ("bias", grad)):
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), f"gradient of {name}"
        if other is not None:
            parameter_dtype = x.dtype if weight is None else weight.dtype
            assert one.dtype == parameter_dtype and one.shape == other.shape
            limit = limits(parameter_dtype).reference_gradient
            assert_within(parameter_roundoffs(one, other, term, others), limit, f"grad {name}")
