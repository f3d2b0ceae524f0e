"""Weight norm: Salimans and Kingma, "Weight normalization", 2016, arXiv:1602.07868."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from normdrop import _core
from normdrop._typing import (
    AnyArray,
    Array,
    ArrayArgument,
    FloatArray,
    HostArray,
    OtherArray,
    Parameter,
)


def weight_norm(
    v: Array,
    g: ArrayArgument,
    *,
    axis: SupportsIndex = 0,
    out: ArrayArgument | None = None,
) -> Array:
    """Make weights of a direction ``v`` and a length ``g`` for each unit.

    ``w = g * v / norm(v)``, with the Euclidean norm over all axes of ``v`` but ``axis``.

    Parameters
    ----------
    v : ndarray of float16, bfloat16, float32 or float64
        At least one axis, any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    g : ndarray, shape (v.shape[axis],)
        Length of each unit's weights, of any sign. The dtype of ``v``, or float32 where ``v`` is
        float16 or bfloat16.
    axis : int, default 0
        The axis that is kept: the one of output units, as (out, in) and (out, in, height, width)
        have it first.
    out : ndarray, optional
        Where to write; shape and dtype of ``v``. ``out=v`` works in place.

    Returns
    -------
    w : ndarray
        Shape, dtype and memory order of ``v``; ``out`` where that was given.

    Raises
    ------
    TypeError
        An argument of a wrong type or dtype.
    ValueError
        A wrong shape or axis, or an ``out`` that is read-only or overlaps an input.

    Notes
    -----
    Squares do not overflow or vanish. A unit whose ``v`` is 0 has no direction: its weights are 0,
    and its gradients NaN.

    References
    ----------
    Salimans, Kingma, "Weight normalization: a simple reparameterization to accelerate training
    of deep neural networks", 2016, arXiv:1602.07868.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.weight_norm(np.array([[3.0, 4.0], [0.0, 7.0]]), np.array([10.0, 2.0]))
    array([[6., 8.],
           [0., 2.]])
    """
    return _core.weight_norm(v, g, axis, out)


@overload
def weight_norm_forward(
    v: HostArray, g: AnyArray, *, axis: SupportsIndex = ..., out: AnyArray | None = ...
) -> tuple[HostArray, FloatArray]: ...


@overload
def weight_norm_forward(
    v: OtherArray, g: OtherArray, *, axis: SupportsIndex = ..., out: OtherArray | None = ...
) -> tuple[OtherArray, Any]: ...


def weight_norm_forward(
    v: Any, g: Any, *, axis: SupportsIndex = 0, out: Any = None
) -> tuple[Any, Any]:
    """Weight norm that also returns the norms its backward pass needs.

    Parameters
    ----------
    v, g, axis, out
        As for :func:`weight_norm`.

    Returns
    -------
    w : ndarray
        As for :func:`weight_norm`.
    norm : ndarray of float64, shape (v.shape[axis],)
        Euclidean norm of each unit's ``v``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> w, norm = nd.weight_norm_forward(np.array([[3.0, 4.0]]), np.array([10.0]))
    >>> norm
    array([5.])
    """
    w, norm = _core.weight_norm_forward(v, g, axis, out)
    return w, norm


@overload
def weight_norm_backward(
    grad_w: AnyArray,
    v: HostArray,
    g: Parameter,
    norm: FloatArray,
    *,
    axis: SupportsIndex = ...,
) -> tuple[HostArray, Parameter]: ...


@overload
def weight_norm_backward(
    grad_w: OtherArray,
    v: OtherArray,
    g: OtherArray,
    norm: Any,
    *,
    axis: SupportsIndex = ...,
) -> tuple[OtherArray, OtherArray]: ...


def weight_norm_backward(
    grad_w: Any, v: Any, g: Any, norm: Any, *, axis: SupportsIndex = 0
) -> tuple[Any, Any]:
    """Gradients of weight norm.

    ``grad_g = sum(grad_w * v) / norm`` over all axes but ``axis``, and
    ``grad_v = g / norm * (grad_w - v / norm * grad_g)``, which has no part along ``v``: plain
    gradient descent only lengthens ``v``.

    Parameters
    ----------
    grad_w : ndarray
        Gradient of the loss with respect to ``w``; shape and dtype of ``v``, any strides.
    v, g, axis
        As they were in the forward pass.
    norm : ndarray of float64
        What :func:`weight_norm_forward` returned.

    Returns
    -------
    grad_v : ndarray
        Gradient of ``v``: its shape, dtype and memory order.
    grad_g : ndarray
        Gradient of ``g``, in its dtype.

    Raises
    ------
    TypeError, ValueError
        As for :func:`weight_norm`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> v, g = np.array([[3.0, 4.0]]), np.array([10.0])
    >>> w, norm = nd.weight_norm_forward(v, g)
    >>> grad_v, grad_g = nd.weight_norm_backward(np.array([[5.0, 0.0]]), v, g, norm)
    >>> grad_v.round(6), grad_g.round(6)
    (array([[ 6.4, -4.8]]), array([3.]))
    """
    grad_v, grad_g = _core.weight_norm_backward(grad_w, v, g, norm, axis)
    return grad_v, grad_g
