"""What all layers share: the order of calls, and the arrays they own by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from normdrop.results import Gradients

AnyArray = npt.NDArray[Any]
Saved = TypeVar("Saved")


class Layer(Generic[Saved]):
    """Base of every layer: one backward for each forward, arrays kept by name.

    A subclass fills ``self._parameters`` (what an optimiser changes) and ``self._buffers`` (other
    state that belongs into a checkpoint), and writes two methods:

    ``_forward(x, training) -> (y, saved)``
        the result, and whatever the backward needs to remember;
    ``_backward(grad_output, saved) -> grad_x``
        the gradient of x; the parameters' gradients go to ``self._gradients``.

    Notes
    -----
    Between a call and its backward the layer holds a reference to ``x``, not a copy: leave ``x``
    as it is until then. A layer is an ordinary Python object that two threads must not use at the
    same time; it can be copied and pickled.
    """

    def __init__(self) -> None:
        self._parameters: dict[str, AnyArray] = {}
        self._buffers: dict[str, AnyArray] = {}
        self._gradients: dict[str, AnyArray] = {}
        self._saved: Saved | None = None

    def __call__(self, x: AnyArray, training: bool = True) -> AnyArray:
        """Apply the layer and remember what its backward needs.

        Parameters
        ----------
        x : ndarray of float16, bfloat16, float32 or float64
            The input; it is not changed.
        training : bool
            False asks for the behaviour at inference.

        Returns
        -------
        ndarray
            A new array of the kind of ``x``.
        """
        self._saved = None  # a call that fails must not leave an older one to differentiate
        y, self._saved = self._forward(x, training)
        return y

    def backward(self, grad_output: AnyArray) -> AnyArray:
        """Compute the gradient of the latest call with respect to its ``x``.

        The parameters' gradients are replaced, not added to; read them with :meth:`gradients`.

        Parameters
        ----------
        grad_output : ndarray
            Gradient of the loss with respect to the result of the latest call.

        Returns
        -------
        ndarray
            Gradient with respect to ``x``, in its shape and dtype.

        Raises
        ------
        RuntimeError
            Before a forward call, or a second time for the same one.
        """
        if self._saved is None:
            raise RuntimeError(
                f"{type(self).__name__}: backward needs a forward call before it, and only one "
                "backward belongs to each"
            )
        grad_x = self._backward(grad_output, self._saved)
        self._saved = None
        return grad_x

    def parameters(self) -> dict[str, AnyArray]:
        """Return the trained arrays by name: themselves, to be updated in place."""
        return dict(self._parameters)

    def gradients(self) -> dict[str, AnyArray]:
        """Return the parameters' gradients by name; empty before the first backward."""
        return dict(self._gradients)

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of all arrays of the state, under PyTorch's names where it has them."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, in place; nothing is changed unless all of it fits.

        Parameters
        ----------
        state : mapping of str to ndarray
            What :meth:`state_dict` returned, or a checkpoint's arrays with the same names.
            Values are converted to the dtype of this layer's own arrays.

        Raises
        ------
        ValueError
            A name is missing or unknown, or a shape differs.
        TypeError
            A value is not a NumPy array or number.
        """
        own = self._state()
        self._check_names(set(own), set(state))
        arrays = {name: self._fitting(name, state[name], own[name]) for name in own}
        for name, array in arrays.items():
            own[name][...] = array
        self._saved = None  # it was computed with the state that is now gone

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, Saved]:
        raise NotImplementedError

    def _backward(self, grad_output: AnyArray, saved: Saved) -> AnyArray:
        raise NotImplementedError

    def _state(self) -> dict[str, AnyArray]:
        return {**self._parameters, **self._buffers}

    def _keep_gradients(self, gradients: Gradients) -> AnyArray:
        """Store the parameters' gradients and pass on that of x."""
        found = {"weight": gradients.weight, "bias": gradients.bias}
        self._gradients = {name: array for name, array in found.items() if array is not None}
        return gradients.x

    def _check_names(self, own: set[str], given: set[str]) -> None:
        if own != given:
            raise ValueError(
                f"{type(self).__name__}: state must have the names {sorted(own)}, "
                f"got {sorted(given)}"
            )

    def _fitting(self, name: str, value: Any, own: AnyArray) -> AnyArray:
        layer = type(self).__name__
        if not isinstance(value, np.ndarray | np.generic | int | float):
            raise TypeError(
                f"{layer}: state {name!r} must be a numpy.ndarray, got {type(value).__name__}"
                + ("; pass its .numpy()" if hasattr(value, "numpy") else "")
            )
        array = np.asarray(value)
        if array.shape != own.shape:
            raise ValueError(
                f"{layer}: state {name!r} must have shape {own.shape}, got {array.shape}"
            )
        return array.astype(own.dtype)


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
            self._parameters["weight"] = np.ones(shape, self.dtype)
        if bias:
            self._parameters["bias"] = np.zeros(shape, self.dtype)

    @property
    def weight(self) -> AnyArray | None:
        """The scale, or None where there is none."""
        return self._parameters.get("weight")

    @property
    def bias(self) -> AnyArray | None:
        """The shift, or None where there is none."""
        return self._parameters.get("bias")

    def _checked_dtype(self, dtype: npt.DTypeLike) -> np.dtype[Any]:
        found = np.dtype(dtype)
        if found.name not in ("float16", "bfloat16", "float32", "float64") or not found.isnative:
            raise TypeError(
                f"{type(self).__name__}: dtype must be float16, bfloat16, float32 or float64, "
                f"got {found}"
            )
        return found
