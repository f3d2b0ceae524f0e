"""Result types: small named tuples that pickle, copy and compare like any tuple."""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from normdrop import _core
from normdrop._arguments import epsilon
from normdrop._typing import AnyArray, AnyDeviceArray, FloatArray

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Statistic = TypeVar("Statistic", default=FloatArray)
    Input = TypeVar("Input", default=AnyArray)
    Parameter = TypeVar("Parameter", default=Input)
else:
    from typing import TypeVar

    Statistic, Input, Parameter = map(TypeVar, ("Statistic", "Input", "Parameter"))


class _ArrayTuple:
    """Equality that compares arrays element by element (NaN equals NaN).

    A named tuple inherits tuple equality, which asks arrays for a truth value and raises.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(map(_same, self, other))  # type: ignore[call-overload]

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def _same(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    left, right = _on_host(left), _on_host(right)
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)


def _on_host(value: Any) -> AnyArray:
    return _core.to_numpy(value) if _core.is_device_array(value) else np.asarray(value)


def restored_device_array(array: AnyArray, device: int) -> _core.DeviceArray:
    """Unpickle a DeviceArray."""
    return _core.DeviceArray.from_numpy(array, device)


if TYPE_CHECKING:  # Python 3.10 has no generic named tuples; these are what checkers see

    class _NormStats(NamedTuple, Generic[Statistic]):
        mean: Statistic
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

else:
    _NormStats = namedtuple("_NormStats", ["mean", "inv_std"])
    _BatchStats = namedtuple("_BatchStats", ["mean", "var", "inv_std", "count"])
    _Gradients = namedtuple("_Gradients", ["x", "weight", "bias"])


class NormStats(_ArrayTuple, _NormStats[Statistic]):  # type: ignore[misc]
    """Statistics of a layer norm, kept for its backward pass.

    Attributes
    ----------
    mean : ndarray of float64
        Mean of each normalised group; the shape of ``x`` with the normalised axes taken out.
    inv_std : ndarray of float64
        ``1 / sqrt(var + eps)``, same shape; ``inf`` where var and eps are both 0.
    """

    __slots__ = ()


class BatchStats(_ArrayTuple, _BatchStats[Statistic]):  # type: ignore[misc]
    """Statistics of a batch norm, one value per channel.

    Attributes
    ----------
    mean, var : ndarray of float64, shape (C,)
        Mean and biased variance (divided by ``count``) of each channel.
    inv_std : ndarray of float64, shape (C,)
        ``1 / sqrt(var + eps)``.
    count : int
        Number of values per channel; 0 for statistics that come from running averages.
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


class Gradients(_ArrayTuple, _Gradients[Input, Parameter]):  # type: ignore[misc]
    """Gradients of a loss with respect to the inputs of a norm.

    Attributes
    ----------
    x : ndarray
        Gradient of ``x``: its shape, dtype and memory order.
    weight, bias : ndarray or None
        Gradients of the parameters, in the parameters' dtype; None where there was none.
    """

    __slots__ = ()
