"""Layer norm: Ba, Kiros and Hinton, "Layer normalization", 2016, arXiv:1607.06450."""

from __future__ import annotations

from normdrop import _core
from normdrop.results import AnyArray, Gradients, NormStats

Axis = int | tuple[int, ...]


def layer_norm(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    axis: Axis = -1,
    eps: float = 1e-5,
    out: AnyArray | None = None,
) -> AnyArray:
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


def layer_norm_forward(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    axis: Axis = -1,
    eps: float = 1e-5,
    out: AnyArray | None = None,
) -> tuple[AnyArray, NormStats]:
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


def layer_norm_backward(
    grad_output: AnyArray,
    x: AnyArray,
    stats: NormStats,
    weight: AnyArray | None = None,
    *,
    axis: Axis = -1,
    bias: bool = True,
    out: AnyArray | None = None,
) -> Gradients:
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
