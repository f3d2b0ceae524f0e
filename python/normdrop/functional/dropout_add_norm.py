"""Dropout, residual add and norm in one pass: what stands between two blocks of a transformer."""

from __future__ import annotations

from typing import Any, overload

from normdrop import _core
from normdrop._arguments import probability
from normdrop._typing import AnyArray, Axis, FloatArray, HostArray, OtherArray, Parameter
from normdrop.functional.drawn_mask import threshold_of
from normdrop.functional.dropout_mask import DeviceDropoutMask, DropoutMask
from normdrop.functional.noise import Drawn, drawn_as
from normdrop.functional.rng import DeviceRng, Rng, draw_seed
from normdrop.results import FusedGradients, FusedNorm, NormStats

LayerNormStats = NormStats[FloatArray]
RmsNormStats = NormStats[FloatArray, None]


@overload
def dropout_add_layer_norm_forward(
    x: HostArray,
    residual: AnyArray,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    p: float = ...,
    rng: Rng = ...,
    axis: Axis = ...,
    eps: float = ...,
) -> FusedNorm[HostArray]: ...


@overload
def dropout_add_layer_norm_forward(
    x: OtherArray,
    residual: OtherArray,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    p: float = ...,
    rng: DeviceRng = ...,
    axis: Axis = ...,
    eps: float = ...,
) -> FusedNorm[OtherArray, NormStats[Any]]: ...


def dropout_add_layer_norm_forward(
    x: Any,
    residual: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    p: float = 0.0,
    rng: DeviceRng = None,
    axis: Axis = -1,
    eps: float = 1e-5,
) -> FusedNorm[Any, Any]:
    """Add dropout of ``x`` to a residual, and layer-normalise the sum, in one pass over memory.

    ``sum = residual + dropout(x)`` and ``y = layer_norm(sum)``: of the sum as it is rounded to the
    dtype of ``x``.

    Parameters
    ----------
    x, residual : ndarray of float16, bfloat16, float32 or float64
        Of one shape and dtype, any strides.
        All arrays may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever offers DLPack
        or ``__cuda_array_interface__``); results are then of that kind, on the caller's stream.
    weight, bias : ndarray, optional
        Scale and shift of the norm; see :func:`layer_norm`.
    p : float, default 0.0
        Probability of dropping an element of ``x``, 0 to 1.
    rng : None, int, (int, int), Generator, BitGenerator or SeedSequence, optional
        As for :func:`dropout`: the same elements are dropped as there.
    axis : int or tuple of int, default -1
        The normalised axes, neighbours.
    eps : float, default 1e-5
        Added to the variance inside the square root; 0 is allowed.

    Returns
    -------
    FusedNorm
        ``(y, sum, stats, mask)``: the norm, the next residual, and what the backward pass needs.

    Raises
    ------
    TypeError
        An argument of a wrong type or dtype.
    ValueError
        A wrong shape, axis, p, seed or eps.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x, residual = np.ones((1, 4)), np.array([[0.0, 1.0, 2.0, 3.0]])
    >>> fused = nd.dropout_add_layer_norm_forward(x, residual, p=0.5, rng=7)
    >>> fused.sum
    array([[0., 1., 4., 5.]])
    >>> fused.mask.keep
    array([[False, False,  True,  True]])
    """
    name = "dropout_add_layer_norm_forward"
    seed, call, draw = draw_seed(name, rng)
    p = probability(name, p)
    y, total, mean, inv_std = _core.dropout_add_layer_norm_forward(
        x, residual, weight, bias, seed, call, threshold_of(p), draw, axis, eps
    )
    return FusedNorm(y, total, NormStats(mean, inv_std), _mask(seed, call, draw, p, total))


@overload
def dropout_add_layer_norm_backward(
    grad_y: AnyArray,
    fused: FusedNorm[HostArray],
    weight: None = ...,
    *,
    grad_sum: AnyArray | None = ...,
    axis: Axis = ...,
    bias: bool = ...,
) -> FusedGradients[HostArray]: ...


@overload
def dropout_add_layer_norm_backward(
    grad_y: AnyArray,
    fused: FusedNorm[HostArray],
    weight: Parameter | None,
    *,
    grad_sum: AnyArray | None = ...,
    axis: Axis = ...,
    bias: bool = ...,
) -> FusedGradients[HostArray, Parameter]: ...


@overload
def dropout_add_layer_norm_backward(
    grad_y: OtherArray,
    fused: FusedNorm[OtherArray, NormStats[Any]],
    weight: OtherArray | None = ...,
    *,
    grad_sum: OtherArray | None = ...,
    axis: Axis = ...,
    bias: bool = ...,
) -> FusedGradients[OtherArray]: ...


def dropout_add_layer_norm_backward(
    grad_y: Any,
    fused: FusedNorm[Any, Any],
    weight: Any = None,
    *,
    grad_sum: Any = None,
    axis: Axis = -1,
    bias: bool = True,
) -> FusedGradients[Any]:
    """Gradients of dropout, residual add and layer norm, in one pass over memory.

    That of the residual is what comes back through the norm, plus ``grad_sum``; that of ``x`` is
    the same, dropped and scaled as ``x`` was.

    Parameters
    ----------
    grad_y : ndarray
        Gradient of the loss with respect to ``y``; shape and dtype of ``x``, any strides.
    fused : FusedNorm
        What :func:`dropout_add_layer_norm_forward` returned.
    weight, axis
        As they were in the forward pass.
    grad_sum : ndarray, optional
        Gradient that reaches ``sum`` from elsewhere: from the next residual add.
    bias : bool, default True
        Whether the gradient of a bias is wanted.

    Returns
    -------
    FusedGradients
        ``(x, residual, weight, bias)``; ``weight`` is None without a weight, ``bias`` with
        ``bias=False``.

    Raises
    ------
    TypeError, ValueError
        As for :func:`dropout_add_layer_norm_forward`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x, residual = np.ones((1, 4)), np.array([[0.0, 1.0, 2.0, 3.0]])
    >>> fused = nd.dropout_add_layer_norm_forward(x, residual, p=0.5, rng=7)
    >>> gradients = nd.dropout_add_layer_norm_backward(
    ...     np.zeros((1, 4)), fused, grad_sum=np.ones((1, 4))
    ... )
    >>> gradients.residual, gradients.x
    (array([[1., 1., 1., 1.]]), array([[0., 0., 2., 2.]]))
    """
    drawn = _drawn("dropout_add_layer_norm_backward", fused)
    return FusedGradients(
        *_core.dropout_add_layer_norm_backward(
            grad_y, fused.sum, fused.stats, weight, *drawn, grad_sum, axis, bias
        )
    )


@overload
def dropout_add_rms_norm_forward(
    x: HostArray,
    residual: AnyArray,
    weight: AnyArray | None = ...,
    bias: AnyArray | None = ...,
    *,
    p: float = ...,
    rng: Rng = ...,
    axis: Axis = ...,
    eps: float = ...,
) -> FusedNorm[HostArray, RmsNormStats]: ...


@overload
def dropout_add_rms_norm_forward(
    x: OtherArray,
    residual: OtherArray,
    weight: OtherArray | None = ...,
    bias: OtherArray | None = ...,
    *,
    p: float = ...,
    rng: DeviceRng = ...,
    axis: Axis = ...,
    eps: float = ...,
) -> FusedNorm[OtherArray, NormStats[Any, None]]: ...


def dropout_add_rms_norm_forward(
    x: Any,
    residual: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    p: float = 0.0,
    rng: DeviceRng = None,
    axis: Axis = -1,
    eps: float = 1e-5,
) -> FusedNorm[Any, Any]:
    """Add dropout of ``x`` to a residual, and RMS-normalise the sum, in one pass over memory.

    :func:`dropout_add_layer_norm_forward` with :func:`rms_norm` in the place of the layer norm.

    Parameters
    ----------
    x, residual, weight, bias, p, rng, axis, eps
        As for :func:`dropout_add_layer_norm_forward`.

    Returns
    -------
    FusedNorm
        ``(y, sum, stats, mask)``; ``stats.mean`` is None.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> fused = nd.dropout_add_rms_norm_forward(np.ones((1, 2)), np.full((1, 2), 3.0), eps=0.0)
    >>> fused.y, fused.sum
    (array([[1., 1.]]), array([[4., 4.]]))
    """
    name = "dropout_add_rms_norm_forward"
    seed, call, draw = draw_seed(name, rng)
    p = probability(name, p)
    y, total, inv_std = _core.dropout_add_rms_norm_forward(
        x, residual, weight, bias, seed, call, threshold_of(p), draw, axis, eps
    )
    return FusedNorm(y, total, NormStats(None, inv_std), _mask(seed, call, draw, p, total))


@overload
def dropout_add_rms_norm_backward(
    grad_y: AnyArray,
    fused: FusedNorm[HostArray, RmsNormStats],
    weight: None = ...,
    *,
    grad_sum: AnyArray | None = ...,
    axis: Axis = ...,
    bias: bool = ...,
) -> FusedGradients[HostArray]: ...


@overload
def dropout_add_rms_norm_backward(
    grad_y: AnyArray,
    fused: FusedNorm[HostArray, RmsNormStats],
    weight: Parameter | None,
    *,
    grad_sum: AnyArray | None = ...,
    axis: Axis = ...,
    bias: bool = ...,
) -> FusedGradients[HostArray, Parameter]: ...


@overload
def dropout_add_rms_norm_backward(
    grad_y: OtherArray,
    fused: FusedNorm[OtherArray, NormStats[Any, None]],
    weight: OtherArray | None = ...,
    *,
    grad_sum: OtherArray | None = ...,
    axis: Axis = ...,
    bias: bool = ...,
) -> FusedGradients[OtherArray]: ...


def dropout_add_rms_norm_backward(
    grad_y: Any,
    fused: FusedNorm[Any, Any],
    weight: Any = None,
    *,
    grad_sum: Any = None,
    axis: Axis = -1,
    bias: bool = True,
) -> FusedGradients[Any]:
    """Gradients of dropout, residual add and RMS norm, in one pass over memory.

    Parameters
    ----------
    grad_y, weight, grad_sum, axis, bias
        As for :func:`dropout_add_layer_norm_backward`.
    fused : FusedNorm
        What :func:`dropout_add_rms_norm_forward` returned.

    Returns
    -------
    FusedGradients
        As for :func:`dropout_add_layer_norm_backward`.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> fused = nd.dropout_add_rms_norm_forward(np.ones((1, 2)), np.full((1, 2), 3.0), eps=0.0)
    >>> nd.dropout_add_rms_norm_backward(np.array([[4.0, 8.0]]), fused).residual
    array([[-0.5,  0.5]])
    """
    drawn = _drawn("dropout_add_rms_norm_backward", fused)
    return FusedGradients(
        *_core.dropout_add_rms_norm_backward(
            grad_y, fused.sum, fused.stats, weight, *drawn, grad_sum, axis, bias
        )
    )


def _mask(seed: int, call: int, draw: Any, p: float, total: Any) -> DropoutMask:
    drawn = Drawn(seed, call, draw, tuple(total.shape), ())
    return drawn.mask(DropoutMask, DeviceDropoutMask, p)


def _drawn(function: str, fused: object) -> tuple[int, int, int, Any]:
    """Seed, call, threshold and the array on a device that holds the first two, of a result."""
    if not isinstance(fused, FusedNorm):
        raise TypeError(f"{function}: fused must be a FusedNorm, got {type(fused).__name__}")
    mask = fused.mask
    if not isinstance(mask, DropoutMask):
        raise TypeError(f"{function}: fused.mask must be a DropoutMask, got {type(mask).__name__}")
    shape = getattr(fused.sum, "shape", mask.shape)
    if tuple(shape) != mask.shape:
        raise ValueError(
            f"{function}: fused.mask must have the shape {tuple(shape)} of fused.sum, "
            f"got {mask.shape}"
        )
    if mask.shared_axes:
        raise ValueError(f"{function}: fused.mask must have no shared_axes, got {mask.shared_axes}")
    seed, call, draw = drawn_as(mask)
    return seed, call, mask.threshold, draw
