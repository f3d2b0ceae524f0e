"""Dropout: Srivastava et al., "Dropout: a simple way to prevent overfitting", JMLR 15, 2014."""

from __future__ import annotations

from typing import Any

from normdrop import _core
from normdrop._arguments import probability
from normdrop._typing import Array, ArrayArgument
from normdrop.functional.dropout_mask import DeviceDropoutMask, DropoutMask, threshold_of
from normdrop.functional.rng import DeviceRng, draw_seed


def dropout(
    x: Array, p: float = 0.5, *, rng: DeviceRng = None, out: ArrayArgument | None = None
) -> Array:
    """Set each element to 0 with probability ``p`` and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        Any shape, any strides. It may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever
        offers DLPack or ``__cuda_array_interface__``); the result is then of that kind, on the
        caller's stream.
    p : float, default 0.5
        Probability of dropping, 0 to 1. 0 gives an equal copy, 1 gives zeros.
    rng : None, int, (int, int), Generator, BitGenerator or SeedSequence, optional
        None: fresh entropy; an int: the seed; a pair: (seed, call); a ``numpy.random.Generator``
        or ``BitGenerator``: one 64-bit draw of it is the seed, whatever ``p`` is; a
        ``numpy.random.SeedSequence``: its first 64-bit word is. The same (seed, call) gives the
        same mask on every machine, backend and number of threads. With ``x`` on a device also an
        array there of two uint64, (seed, call), that the kernel reads, so that a captured graph
        can move on.
    out : ndarray, optional
        Where to write; shape and dtype of ``x``. ``out=x`` works in place.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``; ``out`` where that was given. A dropped element is
        0 also where ``x`` is NaN or inf.

    Raises
    ------
    TypeError
        An argument of a wrong type or dtype.
    ValueError
        ``p`` outside 0 to 1, a seed outside 64 bits, or an ``out`` that does not fit.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15, 2014.
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.dropout(np.ones(6), p=0.5, rng=7)
    array([0., 0., 2., 2., 2., 0.])
    """
    seed, call, draw = draw_seed("dropout", rng)
    threshold = threshold_of(probability("dropout", p))
    return _core.dropout("dropout", "x", x, seed, call, threshold, draw, None, out)


def dropout_forward(
    x: Array, p: float = 0.5, *, rng: DeviceRng = None, out: ArrayArgument | None = None
) -> tuple[Array, DropoutMask]:
    """Dropout that also returns its mask for the backward pass.

    Parameters
    ----------
    x, p, rng, out
        As for :func:`dropout`.

    Returns
    -------
    y : ndarray
        As for :func:`dropout`.
    mask : DropoutMask
        How the mask was drawn; it holds no array.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.dropout_forward(np.ones(6), p=0.5, rng=7)
    >>> mask
    DropoutMask(seed=7, call=0, p=0.5, shape=(6,))
    """
    seed, call, draw = draw_seed("dropout_forward", rng)
    p = probability("dropout_forward", p)
    threshold = threshold_of(p)
    y: Any = _core.dropout("dropout_forward", "x", x, seed, call, threshold, draw, None, out)
    if draw is not None:
        return y, DeviceDropoutMask(draw, p, tuple(y.shape))
    return y, DropoutMask(seed, call, p, tuple(y.shape))


def dropout_backward(
    grad_output: Array, mask: DropoutMask, *, out: ArrayArgument | None = None
) -> Array:
    """Gradient of dropout: the same elements dropped, the same factor.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64
        Gradient of the loss with respect to ``y``; the shape of the mask, any strides.
    mask : DropoutMask
        What :func:`dropout_forward` returned.
    out : ndarray, optional
        Where to write. ``out=grad_output`` works in place.

    Returns
    -------
    grad_x : ndarray
        Shape, dtype and memory order of ``grad_output``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.dropout_forward(np.ones(6), p=0.5, rng=7)
    >>> nd.dropout_backward(np.arange(6.0), mask)
    array([0., 0., 4., 6., 8., 0.])
    """
    if not isinstance(mask, DropoutMask):
        raise TypeError(f"dropout_backward: mask must be a DropoutMask, got {type(mask).__name__}")
    draw = mask._device_draw
    seed, call = (mask.seed, mask.call) if draw is None else (0, 0)
    return _core.dropout(
        "dropout_backward",
        "grad_output",
        grad_output,
        seed,
        call,
        mask.threshold,
        draw,
        mask.shape,
        out,
    )
