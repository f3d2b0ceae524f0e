"""Group norm: Wu and He, "Group normalization", 2018, arXiv:1803.08494."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from normdrop import _core
from normdrop._typing import AnyArray, Array, ArrayArgument, HostArray, OtherArray, Parameter
from normdrop.results import Gradients, NormStats


def group_norm(
    x: Array,
    num_groups: SupportsIndex,
    weight: ArrayArgument | None = None,
    bias: ArrayArgument | None = None,
    *,
    channel_axis: SupportsIndex = 1,
    eps: float = 1e-5,
    out: ArrayArgument | None = None,
) -> Array:
    """Normalise each sample over groups of neighbouring channels.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, where mean and var (biased) are those of
    all elements of one sample in one group of channels. Nothing depends on the size of the batch.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        At least 2 axes, the first of which counts the samples; any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    num_groups : int
        Divides the number of channels C. 1 is a layer norm over all axes but the first, with
        parameters per channel; C is :func:`instance_norm`.
    weight, bias : ndarray, shape (C,), optional
        Scale and shift of each channel. Both have the dtype of ``x``, or both float32 where ``x``
        is float16 or bfloat16. Either may be left out.
    channel_axis : int, default 1
        The axis of channels, any but the first: 1 covers (N, C), (N, C, L) and NCHW; -1 covers
        NHWC.
    eps : float, default 1e-5
        Added to the variance inside the square root; 0 is allowed.
    out : ndarray, optional
        Where to write; shape and dtype of ``x``. ``out=x`` works in place.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``; ``out`` where that was given.

    Raises
    ------
    TypeError
        An argument of a wrong type or dtype.
    ValueError
        A wrong shape, axis or eps, a ``num_groups`` that does not divide the channels, or an
        ``out`` that is read-only or overlaps an input.

    References
    ----------
    Wu, He, "Group normalization", 2018, arXiv:1803.08494.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    return _core.group_norm(x, num_groups, weight, bias, channel_axis, eps, out)


@overload
def group_norm_forward(
    x: HostArray,
    num_groups: SupportsIndex,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    eps: float = ...,
    out: AnyArray | None = ...,
) -> tuple[HostArray, NormStats]: ...


@overload
def group_norm_forward(
    x: OtherArray,
    num_groups: SupportsIndex,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    eps: float = ...,
    out: OtherArray | None = ...,
) -> tuple[OtherArray, NormStats[Any]]: ...


def group_norm_forward(
    x: Any,
    num_groups: SupportsIndex,
    weight: Any = None,
    bias: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    eps: float = 1e-5,
    out: Any = None,
) -> tuple[Any, NormStats[Any]]:
    """Group norm that also returns the statistics its backward pass needs.

    Parameters
    ----------
    x, num_groups, weight, bias, channel_axis, eps, out
        As for :func:`group_norm`.

    Returns
    -------
    y : ndarray
        As for :func:`group_norm`.
    stats : NormStats
        ``mean`` and ``inv_std`` in float64, shape (N, num_groups).

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, stats = nd.group_norm_forward(np.array([[1.0, 3.0, 10.0, 14.0]]), 2, eps=0.0)
    >>> stats
    NormStats(mean=array([[ 2., 12.]]), inv_std=array([[1. , 0.5]]))
    """
    y, mean, inv_std = _core.group_norm_forward(x, num_groups, weight, bias, channel_axis, eps, out)
    return y, NormStats(mean, inv_std)


@overload
def group_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats,
    num_groups: SupportsIndex,
    weight: None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray]: ...


@overload
def group_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats,
    num_groups: SupportsIndex,
    weight: Parameter | None,
    *,
    channel_axis: SupportsIndex = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray, Parameter]: ...


@overload
def group_norm_backward(
    grad_output: OtherArray,
    x: OtherArray,
    stats: NormStats[Any],
    num_groups: SupportsIndex,
    weight: OtherArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    bias: bool = ...,
    out: OtherArray | None = ...,
) -> Gradients[OtherArray]: ...


def group_norm_backward(
    grad_output: Any,
    x: Any,
    stats: NormStats[Any],
    num_groups: SupportsIndex,
    weight: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    bias: bool = True,
    out: Any = None,
) -> Gradients[Any]:
    """Gradients of group norm.

    With ``g = grad_output * weight`` and ``x^ = (x - mean) * inv_std``:
    ``grad_x = inv_std * (g - mean(g) - x^ * mean(g * x^))``, the means taken over each group,
    whose channels have different weights; the gradients of weight and bias are the sums of
    ``grad_output * x^`` and ``grad_output`` over each channel.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, num_groups, weight, channel_axis
        As they were in the forward pass.
    stats : NormStats
        What :func:`group_norm_forward` returned.
    bias : bool, default True
        Whether the gradient of a bias is wanted.
    out : ndarray, optional
        Receives the gradient of ``x``. ``out=grad_output`` works in place.

    Returns
    -------
    Gradients
        ``(x, weight, bias)``; ``weight`` is None without a weight, ``bias`` with ``bias=False``.
        Those of the parameters have the dtype of ``weight``, and of ``x`` without one.

    Raises
    ------
    TypeError, ValueError
        As for :func:`group_norm`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0, 3.0, 10.0, 14.0]])
    >>> y, stats = nd.group_norm_forward(x, 2, eps=0.0)
    >>> nd.group_norm_backward(np.ones_like(x), x, stats, 2, np.ones(4)).weight
    array([-1.,  1., -1.,  1.])
    """
    return Gradients(
        *_core.group_norm_backward(
            grad_output, x, stats, num_groups, weight, channel_axis, bias, out
        )
    )
