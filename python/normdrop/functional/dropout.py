"""Dropout: Srivastava et al., "Dropout: a simple way to prevent overfitting", JMLR 15, 2014."""

from __future__ import annotations

from typing import Any

from normdrop import _core
from normdrop._arguments import probability
from normdrop._typing import Array, ArrayArgument, Axis
from normdrop.functional.drawn_mask import threshold_of
from normdrop.functional.dropout_mask import DeviceDropoutMask, DropoutMask
from normdrop.functional.noise import Drawn, drawn_as, require_mask
from normdrop.functional.rng import DeviceRng, draw_seed


def dropout(
    x: Array,
    p: float = 0.5,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
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
    shared_axes : int or tuple of int, optional
        Axes along which one draw serves all: (2, 3) of (N, C, H, W) drops whole feature maps
        (spatial dropout, Tompson et al. 2015), every axis but 0 whole samples (DropPath, Huang et
        al. 2016, Larsson et al. 2017), and 0 of (T, N, D) uses one mask at all steps of a
        sequence (Gal and Ghahramani 2016). An element's word is then that of its index in the
        shape in which these axes have size 1.
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
        ``p`` outside 0 to 1, a seed outside 64 bits, a shared axis that ``x`` has not or that is
        named twice, or an ``out`` that does not fit.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15, 2014.
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
    Tompson, Goroshin, Jain, LeCun, Bregler, "Efficient object localization using convolutional
    networks", 2015. Huang, Sun, Liu, Sedra, Weinberger, "Deep networks with stochastic depth",
    2016. Larsson, Maire, Shakhnarovich, "FractalNet", 2017. Gal, Ghahramani, "A theoretically
    grounded application of dropout in recurrent neural networks", 2016.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.dropout(np.ones(6), p=0.5, rng=7)
    array([0., 0., 2., 2., 2., 0.])
    >>> nd.dropout(np.ones((3, 4)), p=0.5, rng=7, shared_axes=1)
    array([[0., 0., 0., 0.],
           [0., 0., 0., 0.],
           [2., 2., 2., 2.]])
    """
    seed, call, draw = draw_seed("dropout", rng)
    threshold = threshold_of(probability("dropout", p))
    return _core.dropout("dropout", "x", x, seed, call, threshold, shared_axes, draw, None, out)


def dropout_forward(
    x: Array,
    p: float = 0.5,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> tuple[Array, DropoutMask]:
    """Dropout that also returns its mask for the backward pass.

    Parameters
    ----------
    x, p, rng, shared_axes, out
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
    DropoutMask(seed=7, call=0, p=0.5, shape=(6,), shared_axes=())
    """
    name = "dropout_forward"
    seed, call, draw = draw_seed(name, rng)
    p = probability(name, p)
    threshold = threshold_of(p)
    y: Any = _core.dropout(name, "x", x, seed, call, threshold, shared_axes, draw, None, out)
    if draw is None:
        axes: Any = shared_axes  # an integer becomes a tuple there
        return y, DropoutMask(seed, call, p, tuple(y.shape), axes)
    drawn = Drawn(seed, call, draw, tuple(y.shape), shared_axes)
    return y, drawn.mask(DropoutMask, DeviceDropoutMask, p)


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
    mask = require_mask("dropout_backward", mask, DropoutMask)
    seed, call, draw = drawn_as(mask)
    return _core.dropout(
        "dropout_backward",
        "grad_output",
        grad_output,
        seed,
        call,
        mask.threshold,
        mask.shared_axes,
        draw,
        mask.shape,
        out,
    )
