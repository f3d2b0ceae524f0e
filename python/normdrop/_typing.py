"""The types of public signatures: which arrays go in, and what checkers know of the results."""

from __future__ import annotations

from typing import Any, Protocol, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


class DLPackArray(Protocol):
    """An array that offers its memory by DLPack."""

    def __dlpack__(self) -> Any:
        """Return the capsule that describes the memory."""
        ...


class CudaArray(Protocol):
    """An array that offers its memory by ``__cuda_array_interface__``."""

    @property
    def __cuda_array_interface__(self) -> Any:
        """What the array says of its memory."""
        ...


AnyDeviceArray = DLPackArray | CudaArray
ArrayArgument = npt.NDArray[np.floating[Any]] | AnyDeviceArray

# What comes back is of the type of x: the dtype (and the rank) for NumPy, the class for others.
Array = TypeVar("Array", bound=ArrayArgument)
HostArray = TypeVar("HostArray", bound=npt.NDArray[np.floating[Any]])
OtherArray = TypeVar("OtherArray", bound=AnyDeviceArray)
Parameter = TypeVar("Parameter", bound=npt.NDArray[np.floating[Any]])

Axis = SupportsIndex | tuple[SupportsIndex, ...]
