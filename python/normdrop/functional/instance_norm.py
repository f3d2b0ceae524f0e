"""Instance norm: Ulyanov, Vedaldi and Lempitsky, 2016, arXiv:1607.08022."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from normdrop import _core
from normdrop._typing import AnyArray, Array, ArrayArgument, HostArray, OtherArray, Parameter
from normdrop.results import Gradients, NormStats


def instance_norm(
    x: Array,
    weight: ArrayArgument | None = None,
    bias: ArrayArgument | None = None,
    *,
    channel_axis: SupportsIndex = 1,
    eps: float = 1e-5,
    out: ArrayArgument | None = None,
) -> Array:
    """Normalise each channel of each sample by itself.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, where mean and var (biased) are those of
    all elements of one channel of one sample. It is the same in training and at inference, and
    :func:`group_norm` with as many groups as channels.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        At least 2 axes, the first of which counts the samples; any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
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
        A wrong shape, axis or eps, or an ``out`` that is read-only or overlaps an input.

    Notes
    -----
    A channel of one element has no spread: it becomes ``bias``, and its gradient is 0.

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky, "Instance normalization: the missing ingredient for fast
    stylization", 2016, arXiv:1607.08022.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    return _core.instance_norm(x, weight, bias, channel_axis, eps, out)


@overload
def instance_norm_forward(
    x: HostArray,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    eps: float = ...,
    out: AnyArray | None = ...,
) -> tuple[HostArray, NormStats]: ...


@overload
def instance_norm_forward(
    x: OtherArray,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    eps: float = ...,
    out: OtherArray | None = ...,
) -> tuple[OtherArray, NormStats[Any]]: ...


def instance_norm_forward(
    x: Any,
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
    x, weight, bias, channel_axis, eps, out
        As for :func:`instance_norm`.

    Returns
    -------
    y : ndarray
        As for :func:`instance_norm`.
    stats : NormStats
        ``mean`` and ``inv_std`` in float64, shape (N, C).

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, stats = nd.instance_norm_forward(np.array([[[1.0, 3.0], [10.0, 14.0]]]), eps=0.0)
    >>> stats
    NormStats(mean=array([[ 2., 12.]]), inv_std=array([[1. , 0.5]]))
    """
    y, mean, inv_std = _core.instance_norm_forward(x, weight, bias, channel_axis, eps, out)
    return y, NormStats(mean, inv_std)


@overload
def instance_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats,
    weight: None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray]: ...


@overload
def instance_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats,
    weight: Parameter | None,
    *,
    channel_axis: SupportsIndex = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray, Parameter]: ...


@overload
def instance_norm_backward(
    grad_output: OtherArray,
    x: OtherArray,
    stats: NormStats[Any],
    weight: OtherArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    bias: bool = ...,
    out: OtherArray | None = ...,
) -> Gradients[OtherArray]: ...


def instance_norm_backward(
    grad_output: Any,
    x: Any,
    stats: NormStats[Any],
    weight: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    bias: bool = True,
    out: Any = None,
) -> Gradients[Any]:
    """Gradients of group norm.

    With ``g = grad_output * weight`` and ``x^ = (x - mean) * inv_std``:
    ``grad_x = inv_std * (g - mean(g) - x^ * mean(g * x^))``, the means taken over each
    channel of each sample; the gradients of weight and bias are the sums of ``grad_output * x^``
    and ``grad_output`` over each channel of all samples.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, weight, channel_axis
        As they were in the forward pass.
    stats : NormStats
        What :func:`instance_norm_forward` returned.
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
        As for :func:`instance_norm`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[[1.0, 3.0], [10.0, 14.0]]])
    >>> y, stats = nd.instance_norm_forward(x, eps=0.0)
    >>> nd.instance_norm_backward(y, x, stats, np.ones(2)).weight
    array([2., 2.])
    """
    return Gradients(
        *_core.instance_norm_backward(grad_output, x, stats, weight, channel_axis, bias, out)
    )
