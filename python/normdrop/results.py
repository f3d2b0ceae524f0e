"""Result types: small tuples of arrays with named fields, which pickle, copy and compare."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from normdrop import _core
from normdrop._arguments import epsilon
from normdrop._comparison import ArrayTuple
from normdrop._merging import merged_moments, moments_of
from normdrop._typing import AnyArray, AnyDeviceArray, FloatArray
from normdrop.gradient_sums import GradientSums as GradientSums

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Statistic = TypeVar("Statistic", default=FloatArray)
    Mean = TypeVar("Mean", default=Statistic)
    Input = TypeVar("Input", default=AnyArray)
    Parameter = TypeVar("Parameter", default=Input)
    Stats = TypeVar("Stats", default="NormStats")
    Mask = TypeVar("Mask", default="DropoutMask")

    from normdrop.functional.dropout_mask import DropoutMask
else:
    from typing import TypeVar

    Statistic, Mean, Input, Parameter, Stats, Mask = map(
        TypeVar, ("Statistic", "Mean", "Input", "Parameter", "Stats", "Mask")
    )


def restored_device_array(array: AnyArray, device: int) -> _core.DeviceArray:
    """Unpickle a DeviceArray."""
    return _core.DeviceArray.from_numpy(array, device)


if TYPE_CHECKING:  # Python 3.10 has no generic named tuples; these are what checkers see

    class _NormStats(NamedTuple, Generic[Statistic, Mean]):
        mean: Mean
        inv_std: Statistic

    class _BatchStats(NamedTuple, Generic[Statistic]):
        mean: Statistic
        var: Statistic
        inv_std: Statistic
        count: int  # type: ignore[assignment]

    class _Gradients(NamedTuple, Generic[Input, Parameter]):
        x: Input
        weight: Parameter | None
        bias: Parameter | None

    class _FusedNorm(NamedTuple, Generic[Input, Stats, Mask]):
        y: Input
        sum: Input
        stats: Stats
        mask: Mask

    class _FusedGradients(NamedTuple, Generic[Input, Parameter]):
        x: Input
        residual: Input
        weight: Parameter | None
        bias: Parameter | None

else:
    _NormStats = namedtuple("_NormStats", ["mean", "inv_std"])
    _BatchStats = namedtuple("_BatchStats", ["mean", "var", "inv_std", "count"])
    _Gradients = namedtuple("_Gradients", ["x", "weight", "bias"])
    _FusedNorm = namedtuple("_FusedNorm", ["y", "sum", "stats", "mask"])
    _FusedGradients = namedtuple("_FusedGradients", ["x", "residual", "weight", "bias"])


class NormStats(ArrayTuple, _NormStats[Statistic, Mean]):  # type: ignore[misc]
    """Statistics of a layer, RMS, group or instance norm, kept for its backward pass.

    Attributes
    ----------
    mean : ndarray of float64 or None
        Mean of each set of values that were normalised together: the shape of ``x`` with the
        normalised axes taken out, or (N, groups). None for an RMS norm, which subtracts no mean.
    inv_std : ndarray of float64
        ``1 / sqrt(var + eps)``, same shape, with ``mean(x**2)`` in the place of var for an RMS
        norm; ``inf`` where both are 0.
    """

    __slots__ = ()


class BatchStats(ArrayTuple, _BatchStats[Statistic]):  # type: ignore[misc]
    """Statistics of a batch norm, one value per channel.

    Attributes
    ----------
    mean, var : ndarray of float64, shape (C,)
        Mean and biased variance (divided by ``count``) of each channel.
    inv_std : ndarray of float64, shape (C,)
        ``1 / sqrt(var + eps)``.
    count : int
        Number of values per channel; 0 for statistics that come from running averages, and for
        those of no values at all.
    """

    __slots__ = ()

    @overload
    @classmethod
    def from_running(
        cls,
        running_mean: npt.NDArray[np.floating[Any]],
        running_var: npt.NDArray[np.floating[Any]],
        eps: float = ...,
    ) -> BatchStats[FloatArray]: ...

    @overload
    @classmethod
    def from_running(
        cls, running_mean: AnyDeviceArray, running_var: AnyDeviceArray, eps: float = ...
    ) -> BatchStats[Any]: ...

    @classmethod
    def from_running(
        cls: type[BatchStats[Any]], running_mean: Any, running_var: Any, eps: float = 1e-5
    ) -> BatchStats[Any]:
        """Statistics for ``batch_norm_backward(..., frozen=True)`` from running averages.

        Parameters
        ----------
        running_mean, running_var : ndarray of float32 or float64, shape (C,)
            The running statistics that the inference form used.
        eps : float
            The same eps, inside the square root.

        Examples
        --------
        >>> import numpy as np
        >>> from normdrop import BatchStats
        >>> BatchStats.from_running(np.zeros(2), np.array([3.0, 0.0]), eps=1.0).inv_std
        array([0.5, 1. ])
        """
        name = "BatchStats.from_running"
        if _core.is_device_array(running_mean) or _core.is_device_array(running_var):
            return cls(*_core.stats_from_running(running_mean, running_var, eps), 0)
        mean = _running(name, "running_mean", running_mean)
        var = _running(name, "running_var", running_var)
        if var.shape != mean.shape:
            raise ValueError(f"{name}: running_var must have shape {mean.shape}, got {var.shape}")
        eps = epsilon(name, eps)
        with np.errstate(divide="ignore", invalid="ignore"):
            inv_std = 1.0 / np.sqrt(var + eps)
        return cls(mean, var, inv_std, 0)

    @classmethod
    def merged(
        cls: type[BatchStats[Any]], parts: Sequence[BatchStats[Statistic]], *, eps: float = 1e-5
    ) -> BatchStats[Statistic]:
        """Statistics of all values together, from those of parts of them.

        Parameters
        ----------
        parts : sequence of BatchStats
            What :func:`batch_stats` returned for each part. Parts may differ in size; one with
            ``count`` 0 has no say. Statistics that lie on a device are merged by the host, which
            waits for them, and go back there.
        eps : float
            The eps that the parts were made with. Where var is much larger, inv_std has lost it,
            so it cannot be worked out from the parts; it can be checked, and is.

        Returns
        -------
        BatchStats
            As :func:`batch_stats` returns for the whole, within one unit of the last place of
            what the parts say; NaN and a ``count`` of 0 where every part is empty.

        Raises
        ------
        TypeError
            What is no BatchStats, or a ``count`` that is no integer.
        ValueError
            No parts, parts of different shapes, a negative ``count``, an eps that is not that of
            the parts.

        References
        ----------
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979.

        Examples
        --------
        >>> import numpy as np, normdrop as nd
        >>> x = np.array([[1.0], [2.0], [3.0], [6.0]])
        >>> parts = [nd.batch_stats(x[:3]), nd.batch_stats(x[3:])]
        >>> nd.BatchStats.merged(parts) == nd.batch_stats(x)
        True
        """
        whole = merged_moments(moments_of(parts, BatchStats), epsilon("BatchStats.merged", eps))
        mean, var, inv_std = whole.mean, whole.var, whole.inv_std
        if _core.is_device_array(parts[0].mean):
            mean, var, inv_std = _core.statistics_beside(parts[0].mean, mean, var, inv_std)
        return cls(mean, var, inv_std, whole.count)


def _running(function: str, argument: str, value: Any) -> FloatArray:
    if type(value) not in (np.ndarray, np.memmap):
        raise TypeError(
            f"{function}: {argument} must be a numpy.ndarray, got {type(value).__name__}"
        )
    if value.dtype.kind != "f" or value.dtype.itemsize not in (4, 8) or not value.dtype.isnative:
        raise TypeError(
            f"{function}: {argument} must have dtype float32 or float64, got {value.dtype}"
        )
    if value.ndim != 1:
        raise ValueError(f"{function}: {argument} must be 1-D, got shape {value.shape}")
    return np.array(value, np.float64)


class Gradients(ArrayTuple, _Gradients[Input, Parameter]):  # type: ignore[misc]
    """Gradients of a loss with respect to the inputs of a norm.

    Attributes
    ----------
    x : ndarray
        Gradient of ``x``: its shape, dtype and memory order.
    weight, bias : ndarray or None
        Gradients of the parameters, in the parameters' dtype; None where there was none.
    """

    __slots__ = ()


class FusedNorm(ArrayTuple, _FusedNorm[Input, Stats, Mask]):  # type: ignore[misc]
    """What dropout, residual add and norm in one pass return, and their backward pass needs.

    Attributes
    ----------
    y : ndarray
        The norm of ``sum``.
    sum : ndarray
        ``residual + dropout(x)``, in the dtype of ``x``: the next residual stream.
    stats : NormStats
        Statistics of ``sum``.
    mask : DropoutMask
        How the mask was drawn.
    """

    __slots__ = ()


class FusedGradients(ArrayTuple, _FusedGradients[Input, Parameter]):  # type: ignore[misc]
    """Gradients of a loss with respect to the inputs of dropout, residual add and norm.

    Attributes
    ----------
    x, residual : ndarray
        Gradients of ``x`` and ``residual``: their shape and dtype.
    weight, bias : ndarray or None
        Gradients of the parameters, in the parameters' dtype; None where there was none.
    """

    __slots__ = ()
