"""Halves of batch norm, for statistics and sums that come from more than one array."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from normdrop import _core
from normdrop._typing import AnyArray, Array, ArrayArgument, OtherArray
from normdrop.results import BatchStats, GradientSums


@overload
def batch_stats(
    x: AnyArray, *, channel_axis: SupportsIndex = ..., eps: float = ...
) -> BatchStats: ...


@overload
def batch_stats(
    x: OtherArray, *, channel_axis: SupportsIndex = ..., eps: float = ...
) -> BatchStats[Any]: ...


def batch_stats(x: Any, *, channel_axis: SupportsIndex = 1, eps: float = 1e-5) -> BatchStats[Any]:
    """Statistics of each channel, in one pass over memory, without normalising.

    Those of several arrays (of several processes, or chunks of one array) go through
    :meth:`BatchStats.merged` into :func:`batch_norm_apply`, which then computes what
    :func:`batch_norm_forward` would of all of them together.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        At least 2 axes, any strides, any number of values per channel.
        It may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack or
        ``__cuda_array_interface__``); the statistics are then of that kind, on the caller's
        stream.
    channel_axis : int, default 1
        The axis of channels: 1 covers (N, C), (N, C, L) and NCHW; -1 covers NHWC.
    eps : float, default 1e-5
        Added to the variance inside the square root of ``inv_std``; 0 is allowed.

    Returns
    -------
    BatchStats
        ``mean``, biased ``var`` and ``inv_std`` in float64, shape (C,), and ``count``, the number
        of values per channel. Of no values, ``count`` is 0 and the others NaN.

    Raises
    ------
    TypeError
        An argument of a wrong type or dtype.
    ValueError
        A wrong shape, axis or eps.

    References
    ----------
    Ioffe, Szegedy, "Batch normalization", 2015, arXiv:1502.03167.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0], [2.0], [3.0], [6.0]])
    >>> parts = [nd.batch_stats(x[:1]), nd.batch_stats(x[1:])]
    >>> nd.BatchStats.merged(parts).mean, nd.batch_stats(x).mean
    (array([3.]), array([3.]))
    """
    return BatchStats(*_core.batch_stats(x, channel_axis, eps))


def batch_norm_apply(
    x: Array,
    stats: BatchStats[Any],
    weight: ArrayArgument | None = None,
    bias: ArrayArgument | None = None,
    *,
    channel_axis: SupportsIndex = 1,
    out: ArrayArgument | None = None,
) -> Array:
    """Normalise each channel by statistics as passed: the training form in a pass of its own.

    ``y = (x - stats.mean) * stats.inv_std * weight + bias``

    Parameters
    ----------
    x, weight, bias, channel_axis, out
        As for :func:`batch_norm`.
    stats : BatchStats
        Of :func:`batch_stats`, or merged; ``var`` and ``count`` are not used.

    Returns
    -------
    y : ndarray
        As for :func:`batch_norm`.

    Raises
    ------
    TypeError, ValueError
        As for :func:`batch_norm`.

    Notes
    -----
    The statistics are rounded to double, which shows in float64 where the mean of a channel is
    many times its deviation; :func:`batch_norm_forward` keeps more digits of them.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0], [5.0]])
    >>> nd.batch_norm_apply(x, nd.batch_stats(x, eps=0.0))
    array([[-1.],
           [ 1.]])
    """
    return _core.batch_norm_apply(x, stats, weight, bias, channel_axis, out)


@overload
def batch_norm_gradient_sums(
    grad_output: AnyArray, x: AnyArray, stats: BatchStats, *, channel_axis: SupportsIndex = ...
) -> GradientSums: ...


@overload
def batch_norm_gradient_sums(
    grad_output: OtherArray,
    x: OtherArray,
    stats: BatchStats[Any],
    *,
    channel_axis: SupportsIndex = ...,
) -> GradientSums[Any]: ...


def batch_norm_gradient_sums(
    grad_output: Any, x: Any, stats: BatchStats[Any], *, channel_axis: SupportsIndex = 1
) -> GradientSums[Any]:
    """Sum over each channel what the gradients of x and of the parameters are made of.

    Those of several arrays add up; :func:`batch_norm_backward_apply` takes the total.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, channel_axis
        As they were in the forward pass.
    stats : BatchStats
        With which ``x`` was normalised.

    Returns
    -------
    GradientSums
        ``grad``, ``grad_x_hat`` in float64, shape (C,), and ``count``. Totals of the first two
        are the gradients of bias and weight.

    Raises
    ------
    TypeError, ValueError
        As for :func:`batch_norm_backward`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0], [5.0]])
    >>> stats = nd.batch_stats(x, eps=0.0)
    >>> nd.batch_norm_gradient_sums(np.array([[1.0], [2.0]]), x, stats)
    GradientSums(grad=array([3.]), grad_x_hat=array([1.]), count=2)
    """
    return GradientSums(*_core.batch_norm_gradient_sums(grad_output, x, stats, channel_axis))


def batch_norm_backward_apply(
    grad_output: Array,
    x: ArrayArgument,
    stats: BatchStats[Any],
    sums: GradientSums[Any],
    weight: ArrayArgument | None = None,
    *,
    channel_axis: SupportsIndex = 1,
    out: ArrayArgument | None = None,
) -> Array:
    """Gradient of x, given the sums over all values that were normalised together.

    With ``x^ = (x - stats.mean) * stats.inv_std``: ``grad_x = weight * stats.inv_std *
    (grad_output - sums.grad / sums.count - x^ * sums.grad_x_hat / sums.count)``

    Parameters
    ----------
    grad_output, x, stats, channel_axis
        As for :func:`batch_norm_gradient_sums`.
    sums : GradientSums
        The total of what :func:`batch_norm_gradient_sums` returned for each part.
    weight : ndarray, shape (C,), optional
        As it was in the forward pass.
    out : ndarray, optional
        Where to write. ``out=grad_output`` works in place.

    Returns
    -------
    grad_x : ndarray
        Shape, dtype and memory order of ``x``.

    Raises
    ------
    TypeError, ValueError
        As for :func:`batch_norm_backward`; a ``sums.count`` below 1.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x, grad = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> stats = nd.batch_stats(x)
    >>> sums = nd.batch_norm_gradient_sums(grad, x, stats)
    >>> grad_x = nd.batch_norm_backward_apply(grad, x, stats, sums)
    >>> bool(np.allclose(grad_x, nd.batch_norm_backward(grad, x, stats).x))
    True
    """
    return _core.batch_norm_backward_apply(grad_output, x, stats, sums, weight, channel_axis, out)
