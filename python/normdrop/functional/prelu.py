"""PReLU: He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, arXiv:1502.01852."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

from normdrop import _core
from normdrop._typing import AnyArray, Array, ArrayArgument, HostArray, OtherArray, Parameter
from normdrop.results import Gradients


def prelu(
    x: Array,
    weight: ArrayArgument,
    *,
    channel_axis: SupportsIndex = 1,
    out: ArrayArgument | None = None,
) -> Array:
    """Keep positive elements, and multiply the others by a slope that is learned.

    ``y = x`` where ``x > 0``, and ``weight * x`` elsewhere.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        At least 2 axes, or any number of them where one slope serves all; any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    weight : ndarray, shape (C,) or (1,)
        Slope of each channel, or one for all. The dtype of ``x``, or float32 where ``x`` is
        float16 or bfloat16.
    channel_axis : int, default 1
        The axis of channels: 1 covers (N, C), (N, C, L) and NCHW; -1 covers NHWC.
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
        A wrong shape or axis, or an ``out`` that is read-only or overlaps an input.

    References
    ----------
    He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015, arXiv:1502.01852.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.prelu(np.array([[-2.0, -2.0], [3.0, 4.0]]), np.array([0.25, -1.0]))
    array([[-0.5,  2. ],
           [ 3. ,  4. ]])
    """
    return _core.prelu(x, weight, channel_axis, out)


@overload
def prelu_backward(
    grad_output: AnyArray,
    x: HostArray,
    weight: Parameter,
    *,
    channel_axis: SupportsIndex = ...,
) -> Gradients[HostArray, Parameter]: ...


@overload
def prelu_backward(
    grad_output: OtherArray,
    x: OtherArray,
    weight: OtherArray,
    *,
    channel_axis: SupportsIndex = ...,
) -> Gradients[OtherArray]: ...


def prelu_backward(
    grad_output: Any, x: Any, weight: Any, *, channel_axis: SupportsIndex = 1
) -> Gradients[Any]:
    """Gradients of PReLU.

    ``grad_x = grad_output`` where ``x > 0`` and ``weight * grad_output`` elsewhere, 0 included;
    that of weight is the sum of ``grad_output * x`` over the elements that are not positive and
    share it.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    x, weight, channel_axis
        As they were in the forward pass.

    Returns
    -------
    Gradients
        ``(x, weight, bias)``, where ``weight`` has the shape and dtype of ``weight`` and ``bias``
        is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`prelu`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[-2.0, -2.0], [3.0, 4.0]])
    >>> gradients = nd.prelu_backward(np.ones_like(x), x, np.array([0.25, -1.0]))
    >>> gradients.x
    array([[ 0.25, -1.  ],
           [ 1.  ,  1.  ]])
    >>> gradients.weight
    array([-2., -2.])
    """
    grad_x, grad_weight = _core.prelu_backward(grad_output, x, weight, channel_axis)
    return Gradients(grad_x, grad_weight, None)
