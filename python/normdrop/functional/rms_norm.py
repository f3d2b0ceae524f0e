"""RMS norm: Zhang and Sennrich, "Root mean square layer normalization", 2019, arXiv:1910.07467."""

from __future__ import annotations

from typing import Any, overload

from normdrop import _core
from normdrop._typing import (
    AnyArray,
    Array,
    ArrayArgument,
    Axis,
    FloatArray,
    HostArray,
    OtherArray,
    Parameter,
)
from normdrop.results import Gradients, NormStats


def rms_norm(
    x: Array,
    weight: ArrayArgument | None = None,
    bias: ArrayArgument | None = None,
    *,
    axis: Axis = -1,
    eps: float = 1e-5,
    out: ArrayArgument | None = None,
) -> Array:
    """Scale ``x`` to a mean square of 1 over one or more neighbouring axes.

    ``y = x / sqrt(mean(x**2) + eps) * weight + bias``, the mean taken over each set of elements
    along ``axis``. No mean is subtracted: on rows of mean 0 it is :func:`layer_norm`.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        Any shape with at least one axis, any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    weight, bias : ndarray, optional
        Scale and shift; shape of ``x`` along ``axis``. Both have the dtype of ``x``, or both
        float32 where ``x`` is float16 or bfloat16. Either may be left out; the paper has no bias.
    axis : int or tuple of int, default -1
        Neighbouring axes anywhere in the shape.
    eps : float, default 1e-5
        Added to the mean square inside the root; 0 is allowed.
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
    Squares do not overflow or vanish: rows of 1e30 or 1e-30 in float32 are scaled like any other.
    A NaN or inf spoils its own row and nothing else. Some implementations add eps outside the
    root; with such weights, choose eps by comparing outputs.

    References
    ----------
    Zhang, Sennrich, "Root mean square layer normalization", 2019, arXiv:1910.07467.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.rms_norm(np.array([[1.0, -1.0, 5.0, 3.0]]), eps=0.0).round(6)
    array([[ 0.333333, -0.333333,  1.666667,  1.      ]])
    """
    return _core.rms_norm(x, weight, bias, axis, eps, out)


@overload
def rms_norm_forward(
    x: HostArray,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    axis: Axis = ...,
    eps: float = ...,
    out: AnyArray | None = ...,
) -> tuple[HostArray, NormStats[FloatArray, None]]: ...


@overload
def rms_norm_forward(
    x: OtherArray,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    axis: Axis = ...,
    eps: float = ...,
    out: OtherArray | None = ...,
) -> tuple[OtherArray, NormStats[Any, None]]: ...


def rms_norm_forward(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    axis: Axis = -1,
    eps: float = 1e-5,
    out: Any = None,
) -> tuple[Any, NormStats[Any, None]]:
    """RMS norm that also returns the statistics its backward pass needs.

    Parameters
    ----------
    x, weight, bias, axis, eps, out
        As for :func:`rms_norm`.

    Returns
    -------
    y : ndarray
        As for :func:`rms_norm`.
    stats : NormStats
        ``inv_std``, which is ``1 / sqrt(mean(x**2) + eps)`` in float64, of the shape of ``x``
        with ``axis`` taken out; ``mean`` is None.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, stats = nd.rms_norm_forward(np.array([[2.0, 4.0]]), eps=6.0)
    >>> stats
    NormStats(mean=None, inv_std=array([0.25]))
    """
    y, inv_std = _core.rms_norm_forward(x, weight, bias, axis, eps, out)
    return y, NormStats(None, inv_std)


@overload
def rms_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats[FloatArray, None],
    weight: None = ...,
    *,
    axis: Axis = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray]: ...


@overload
def rms_norm_backward(
    grad_output: AnyArray,
    x: HostArray,
    stats: NormStats[FloatArray, None],
    weight: Parameter | None,
    *,
    axis: Axis = ...,
    bias: bool = ...,
    out: AnyArray | None = ...,
) -> Gradients[HostArray, Parameter]: ...


@overload
def rms_norm_backward(
    grad_output: OtherArray,
    x: OtherArray,
    stats: NormStats[Any, None],
    weight: OtherArray | None = ...,
    *,
    axis: Axis = ...,
    bias: bool = ...,
    out: OtherArray | None = ...,
) -> Gradients[OtherArray]: ...


def rms_norm_backward(
    grad_output: Any,
    x: Any,
    stats: NormStats[Any, None],
    weight: Any = None,
    *,
    axis: Axis = -1,
    bias: bool = True,
    out: Any = None,
) -> Gradients[Any]:
    """Gradients of RMS norm.

    With ``g = grad_output * weight`` and ``x^ = x * inv_std``:
    ``grad_x = inv_std * (g - x^ * mean(g * x^))``, the mean taken along ``axis``; the gradients
    of weight and bias are the sums of ``grad_output * x^`` and ``grad_output`` over all other
    axes.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, weight, axis
        As they were in the forward pass.
    stats : NormStats
        What :func:`rms_norm_forward` returned.
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
        As for :func:`rms_norm`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0, 2.0, 4.0]])
    >>> y, stats = nd.rms_norm_forward(x, eps=0.0)
    >>> gradients = nd.rms_norm_backward(x, x, stats, bias=False)
    >>> bool(abs(gradients.x).max() < 1e-15)  # a longer x gives the same y
    True
    """
    return Gradients(*_core.rms_norm_backward(grad_output, x, stats, weight, axis, bias, out))
