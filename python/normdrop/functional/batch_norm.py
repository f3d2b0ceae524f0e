"""Batch norm: Ioffe and Szegedy, "Batch normalization", 2015, arXiv:1502.03167."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from normdrop import _core
from normdrop._typing import AnyArray, Array, ArrayArgument, HostArray, OtherArray, Parameter
from normdrop.results import BatchStats, Gradients


def batch_norm(
    x: Array,
    running_mean: ArrayArgument,
    running_var: ArrayArgument,
    weight: ArrayArgument | None = None,
    bias: ArrayArgument | None = None,
    *,
    channel_axis: SupportsIndex = 1,
    eps: float = 1e-5,
    out: ArrayArgument | None = None,
) -> Array:
    """Batch norm at inference: normalise each channel by its running statistics.

    ``y = (x - running_mean) / sqrt(running_var + eps) * weight + bias``

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        At least 2 axes, any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    running_mean, running_var : ndarray of float32 or float64, shape (C,)
        Population statistics of each channel.
    weight, bias : ndarray, shape (C,), optional
        Scale and shift. Both have the dtype of ``x``, or both float32 where ``x`` is float16 or
        bfloat16. Either may be left out.
    channel_axis : int, default 1
        The axis of channels: 1 covers (N, C), (N, C, L) and NCHW; -1 covers NHWC.
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

    References
    ----------
    Ioffe, Szegedy, "Batch normalization", 2015, arXiv:1502.03167, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.batch_norm(np.array([[5.0], [9.0]]), np.array([5.0]), np.array([4.0]), eps=0.0)
    array([[0.],
           [2.]])
    """
    return _core.batch_norm(x, running_mean, running_var, weight, bias, channel_axis, eps, out)


@overload
def batch_norm_forward(
    x: HostArray,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    eps: float = ...,
    out: AnyArray | None = ...,
) -> tuple[HostArray, BatchStats]: ...


@overload
def batch_norm_forward(
    x: OtherArray,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    eps: float = ...,
    out: OtherArray | None = ...,
) -> tuple[OtherArray, BatchStats[Any]]: ...


def batch_norm_forward(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    eps: float = 1e-5,
    out: Any = None,
) -> tuple[Any, BatchStats[Any]]:
    """Batch norm in training: normalise each channel by the statistics of this batch.

    Parameters
    ----------
    x, weight, bias, channel_axis, eps, out
        As for :func:`batch_norm`; ``x`` needs at least 2 values per channel.

    Returns
    -------
    y : ndarray
        As for :func:`batch_norm`.
    stats : BatchStats
        ``mean``, biased ``var`` and ``inv_std`` in float64, shape (C,), and ``count``, the number
        of values per channel.

    Notes
    -----
    The output does not depend on running statistics; see :func:`update_running_stats`.
    A NaN or inf spoils its own channel and nothing else.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, stats = nd.batch_norm_forward(np.array([[1.0], [2.0], [3.0], [4.0]]), eps=0.0)
    >>> y.ravel().round(4)
    array([-1.3416, -0.4472,  0.4472,  1.3416])
    >>> stats.var, stats.count
    (array([1.25]), 4)
    """
    y, mean, var, inv_std, count = _core.batch_norm_forward(x, weight, bias, channel_axis, eps, out)
    return y, BatchStats(mean, var, inv_std, count)


@overload
def batch_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: BatchStats,
    weight: None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    frozen: bool = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray]: ...


@overload
def batch_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: BatchStats,
    weight: Parameter | None,
    *,
    channel_axis: SupportsIndex = ...,
    frozen: bool = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray, Parameter]: ...


@overload
def batch_norm_backward(
    grad_output: OtherArray,
    x: OtherArray,
    stats: BatchStats[Any],
    weight: OtherArray | None = ...,
    *,
    channel_axis: SupportsIndex = ...,
    frozen: bool = ...,
    bias: bool = ...,
    out: OtherArray | None = ...,
) -> Gradients[OtherArray]: ...


def batch_norm_backward(
    grad_output: Any,
    x: Any,
    stats: BatchStats[Any],
    weight: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    frozen: bool = False,
    bias: bool = True,
    out: Any = None,
) -> Gradients[Any]:
    """Gradients of batch norm, in training or with frozen statistics.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, weight, channel_axis
        As they were in the forward pass.
    stats : BatchStats
        What :func:`batch_norm_forward` returned, or :meth:`BatchStats.from_running`.
    frozen : bool, default False
        The backward pass of the inference form: the statistics are constants.
    bias : bool, default True
        Whether the gradient of a bias is wanted.
    out : ndarray, optional
        Receives the gradient of ``x``. ``out=grad_output`` works in place.

    Returns
    -------
    Gradients
        ``(x, weight, bias)``; ``weight`` is None without a weight, ``bias`` with ``bias=False``.
        Those of the parameters have the dtype of ``weight``, and of ``x`` without one.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> y, stats = nd.batch_norm_forward(x)
    >>> nd.batch_norm_backward(np.ones_like(x), x, stats).bias
    array([3.])
    """
    return Gradients(
        *_core.batch_norm_backward(grad_output, x, stats, weight, channel_axis, frozen, bias, out)
    )


def update_running_stats(
    running_mean: ArrayArgument,
    running_var: ArrayArgument,
    stats: BatchStats[Any],
    *,
    momentum: float = 0.1,
    correction: SupportsIndex = 1,
) -> None:
    """Move running statistics towards those of a batch, in place.

    ``running = (1 - momentum) * running + momentum * batch``

    Parameters
    ----------
    running_mean, running_var : ndarray of float32 or float64, shape (C,)
        Written in place; any stride.
    stats : BatchStats
        What :func:`batch_norm_forward` returned.
    momentum : float, default 0.1
        The weight of the new batch, as in PyTorch; Keras' 0.99 is 0.01 here.
    correction : {1, 0}, default 1
        1 stores the unbiased variance ``var * count / (count - 1)``, as PyTorch does; 0 the
        biased one, as Keras, Flax and ONNX do.

    Notes
    -----
    A batch with NaN or inf makes the running statistics of that channel NaN or inf too; check
    ``numpy.isfinite(stats.var)`` first where batches may overflow.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, stats = nd.batch_norm_forward(np.array([[1.0], [2.0], [3.0], [4.0]]))
    >>> running_mean, running_var = np.zeros(1), np.ones(1)
    >>> nd.update_running_stats(running_mean, running_var, stats)
    >>> running_mean, running_var.round(6)
    (array([0.25]), array([1.066667]))
    """
    _core.update_running_stats(running_mean, running_var, stats, momentum, correction)
