"""Layer norm: Ba, Kiros and Hinton, "Layer normalization", 2016, arXiv:1607.06450."""

from __future__ import annotations

from typing import Any, overload

from normdrop import _core
from normdrop._typing import AnyArray, Array, ArrayArgument, Axis, HostArray, OtherArray, Parameter
from normdrop.results import Gradients, NormStats


def layer_norm(
    x: Array,
    weight: ArrayArgument | None = None,
    bias: ArrayArgument | None = None,
    *,
    axis: Axis = -1,
    eps: float = 1e-5,
    out: ArrayArgument | None = None,
) -> Array:
    """Normalise ``x`` over one or more neighbouring axes.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, where mean and var (biased) are those
    of each group of elements along ``axis``.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        Any shape with at least one axis, any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    weight, bias : ndarray, optional
        Scale and shift; shape of ``x`` along ``axis``. Both have the dtype of ``x``, or both
        float32 where ``x`` is float16 or bfloat16. Either may be left out.
    axis : int or tuple of int, default -1
        Neighbouring axes anywhere in the shape. ``axis=1`` on (N, C, H, W) is a channels-first
        layer norm, without a transpose.
    eps : float, default 1e-5
        Added to the variance inside the square root; 0 is allowed.
    out : ndarray, optional
        Where to write; shape and dtype of ``x``, any strides. ``out=x`` works in place.

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
    Results are within 2 units of the last place of the exact value in float32, 4 in float64 and
    1 in float16 and bfloat16, whatever the mean of the row. A NaN or inf spoils its own row and
    nothing else.
    The fewest bytes a call moves are one read of ``x`` and one write of ``y``.

    References
    ----------
    Ba, Kiros, Hinton, "Layer normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.layer_norm(np.array([[1.0, 2.0, 3.0]]), eps=0.5)
    array([[-0.9258201,  0.       ,  0.9258201]])
    """
    return _core.layer_norm(x, weight, bias, axis, eps, out)


@overload
def layer_norm_forward(
    x: HostArray,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    axis: Axis = ...,
    eps: float = ...,
    out: AnyArray | None = ...,
) -> tuple[HostArray, NormStats]: ...


@overload
def layer_norm_forward(
    x: OtherArray,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    axis: Axis = ...,
    eps: float = ...,
    out: OtherArray | None = ...,
) -> tuple[OtherArray, NormStats[Any]]: ...


def layer_norm_forward(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    axis: Axis = -1,
    eps: float = 1e-5,
    out: Any = None,
) -> tuple[Any, NormStats[Any]]:
    """Layer norm that also returns the statistics its backward pass needs.

    Parameters
    ----------
    x, weight, bias, axis, eps, out
        As for :func:`layer_norm`.

    Returns
    -------
    y : ndarray
        As for :func:`layer_norm`.
    stats : NormStats
        ``mean`` and ``inv_std`` in float64, of the shape of ``x`` with ``axis`` taken out.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, stats = nd.layer_norm_forward(np.array([[1.0, 3.0]]), eps=3.0)
    >>> stats
    NormStats(mean=array([2.]), inv_std=array([0.5]))
    """
    y, mean, inv_std = _core.layer_norm_forward(x, weight, bias, axis, eps, out)
    return y, NormStats(mean, inv_std)


@overload
def layer_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats,
    weight: None = ...,
    *,
    axis: Axis = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray]: ...


@overload
def layer_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats,
    weight: Parameter | None,
    *,
    axis: Axis = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray, Parameter]: ...


@overload
def layer_norm_backward(
    grad_output: OtherArray,
    x: OtherArray,
    stats: NormStats[Any],
    weight: OtherArray | None = ...,
    *,
    axis: Axis = ...,
    bias: bool = ...,
    out: OtherArray | None = ...,
) -> Gradients[OtherArray]: ...


def layer_norm_backward(
    grad_output: Any,
    x: Any,
    stats: NormStats[Any],
    weight: Any = None,
    *,
    axis: Axis = -1,
    bias: bool = True,
    out: Any = None,
) -> Gradients[Any]:
    """Gradients of layer norm.

    With ``g = grad_output * weight`` and ``x^ = (x - mean) * inv_std``:
    ``grad_x = inv_std * (g - mean(g) - x^ * mean(g * x^))``, the means taken along ``axis``;
    the gradients of weight and bias are the sums of ``grad_output * x^`` and ``grad_output``
    over all other axes.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, weight, axis
        As they were in the forward pass.
    stats : NormStats
        What :func:`layer_norm_forward` returned.
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
        As for :func:`layer_norm`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0, 2.0, 4.0]])
    >>> y, stats = nd.layer_norm_forward(x)
    >>> nd.layer_norm_backward(np.ones_like(x), x, stats).bias
    array([1., 1., 1.])
    """
    return Gradients(*_core.layer_norm_backward(grad_output, x, stats, weight, axis, bias, out))
