"""What the norms share: a weight and a bias, and checks of x against them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from normdrop._typing import AnyArray
from normdrop.layers.base import Layer
from normdrop.results import Gradients

Saved = TypeVar("Saved")

_HALF_TYPES = ("float16", "bfloat16")
_DTYPES = (*_HALF_TYPES, "float32", "float64")


class AffineLayer(Layer[Saved]):
    """A layer with a weight and a bias, either of which may be left out.

    Parameters
    ----------
    shape : tuple of int
        Shape of both parameters.
    weight, bias : bool
        Whether there is one. The weight starts at 1 and the bias at 0.
    dtype : dtype
        float16, bfloat16, float32 or float64.
    """

    def __init__(
        self, shape: tuple[int, ...], *, weight: bool, bias: bool, dtype: npt.DTypeLike
    ) -> None:
        super().__init__()
        self.dtype = self._checked_dtype(dtype)
        if weight:
            self.add_parameter("weight", np.ones(shape, self.dtype))
        if bias:
            self.add_parameter("bias", np.zeros(shape, self.dtype))

    @property
    def weight(self) -> AnyArray | None:
        """The scale, or None where there is none."""
        return self._parameters.get("weight")

    @property
    def bias(self) -> AnyArray | None:
        """The shift, or None where there is none."""
        return self._parameters.get("bias")

    def _keep_gradients(self, gradients: Gradients[Any]) -> AnyArray:
        """Store the parameters' gradients and pass on that of x."""
        for name, array in (("weight", gradients.weight), ("bias", gradients.bias)):
            if array is not None:
                self.set_gradient(name, array)
        grad_x: AnyArray = gradients.x
        return grad_x

    def _check_x_dtype(self, x: AnyArray, size: object) -> None:
        """Blame x rather than the parameters, which the caller did not make.

        Without parameters x is computed in its own dtype. What is no NumPy array or of no dtype
        that is computed at all is left to the function.
        """
        own = self.dtype
        if not isinstance(x, np.ndarray) or x.dtype == own or not self._parameters:
            return
        halves_too = own.name == "float32"
        is_computed = x.dtype.name in _DTYPES and x.dtype.isnative
        if not is_computed or (halves_too and x.dtype.name in _HALF_TYPES):
            return
        accepted = f"{own}, float16 or bfloat16" if halves_too else f"{own}"
        raise TypeError(
            f"{self._class_name}: x must have dtype {accepted}, as the layer's dtype is {own}, got "
            f"{x.dtype}; pass x.astype({_spelt(own)}), or make the layer by "
            f"{self._class_name}({size}, dtype={_spelt(x.dtype)})"
        )

    def _checked_dtype(self, dtype: npt.DTypeLike) -> np.dtype[Any]:
        found = _found_dtype(dtype)
        if found is None or found.name not in _DTYPES or not found.isnative:
            raise TypeError(
                f"{self._class_name}: dtype must be float16, bfloat16, float32 or float64, "
                f"got {found or repr(dtype)}"
            )
        return found


def _found_dtype(dtype: npt.DTypeLike) -> np.dtype[Any] | None:
    """Return what NumPy makes of it; None for nonsense, and for None, which would be float64."""
    if isinstance(dtype, str) and dtype == "bfloat16":
        import ml_dtypes  # noqa: F401 - NumPy knows the name from then on
    try:
        return None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        return None


def _spelt(dtype: np.dtype[Any]) -> str:
    return f"{'ml_dtypes' if dtype.name == 'bfloat16' else 'np'}.{dtype.name}"
