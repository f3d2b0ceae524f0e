"""The arrays of a layer by name, and those of the layers inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from normdrop._arguments import flag
from normdrop._typing import AnyArray
from normdrop.layers.loading import IncompatibleKeys, check_names, fitted

if TYPE_CHECKING:
    from normdrop.layers.base import Layer

Child = TypeVar("Child", bound="Layer[Any]")


class NamedArrays:
    """Parameters, their gradients, buffers and the layers inside this one, by name."""

    # Names under which a state may hold arrays of this layer too, and our own for them.
    _other_names: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        self._parameters: dict[str, AnyArray] = {}
        self._buffers: dict[str, AnyArray] = {}
        self._gradients: dict[str, AnyArray] = {}
        self._layers: dict[str, Layer[Any]] = {}

    def add_parameter(self, name: str, array: AnyArray) -> AnyArray:
        """Name an array that an optimiser changes; return the array, which is not copied.

        Parameters
        ----------
        name : str
            Its name in :meth:`parameters` and :meth:`state_dict`, without a dot.
        array : ndarray
            It is changed in place from now on, by optimisers and :meth:`load_state_dict`.
        """
        self._parameters[self._new_name(name)] = self._array(name, array)
        return array

    def add_buffer(self, name: str, array: AnyArray) -> AnyArray:
        """Name an array that belongs to the state and has no gradient; return the array."""
        self._buffers[self._new_name(name)] = self._array(name, array)
        return array

    def add_layer(self, name: str, layer: Child) -> Child:
        """Name a layer inside this one, whose arrays are then ``name.weight``, ...; return it.

        It follows :meth:`Layer.train` and :meth:`Layer.eval`, and where ``_forward`` calls it, it
        keeps what the outer call keeps for a backward.
        """
        if not isinstance(layer, NamedArrays):
            raise TypeError(
                f"{self._class_name}: {name!r} must be a Layer, got {type(layer).__name__}"
            )
        self._layers[self._new_name(name)] = layer
        return layer

    def children(self) -> dict[str, Layer[Any]]:
        """Return the layers inside this one by name."""
        return dict(self._layers)

    def set_gradient(self, name: str, array: AnyArray) -> None:
        """Store the gradient of a parameter, in the place of that of an earlier backward."""
        if name not in self._parameters:
            raise ValueError(
                f"{self._class_name}: a gradient must be that of one of {list(self._parameters)}, "
                f"got {name!r}"
            )
        expected, shape = self._parameters[name].shape, self._array(name, array).shape
        if shape != expected:
            raise ValueError(
                f"{self._class_name}: gradient {name!r} must have shape {expected}, got {shape}"
            )
        self._gradients[name] = array

    def parameters(self) -> dict[str, AnyArray]:
        """Return the trained arrays by name: themselves, to be updated in place."""
        return self._by_name(lambda layer: layer._parameters)

    def gradients(self) -> dict[str, AnyArray]:
        """Return the parameters' gradients by name; empty before the first backward."""
        return self._by_name(lambda layer: layer._gradients)

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of all arrays of the state, under PyTorch's names where it has them."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take over a state, in place; nothing is changed unless all of it fits.

        Parameters
        ----------
        state : mapping of str to ndarray
            What :meth:`state_dict` returned, or a checkpoint's arrays with the same names: of
            ``numpy.load`` too, which gives bfloat16 back as raw bytes. Values are converted to
            the dtype of this layer's own arrays.
        strict : bool
            False leaves out names that are missing or unknown. Those that are known must fit
            either way.

        Returns
        -------
        IncompatibleKeys
            A named tuple of two lists, ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        ValueError
            A name is missing or unknown, or a shape differs.
        TypeError
            A value is not a NumPy array or number, or its dtype does not fit.
        """
        own, state = self._state(), self._with_own_names(state)
        keys = IncompatibleKeys(
            [name for name in own if name not in state], [name for name in state if name not in own]
        )
        if flag(self._class_name, "strict", strict):
            check_names(self._class_name, keys)
        arrays = {
            prefix + name: fitted(layer._class_name, prefix + name, state[prefix + name], array)
            for prefix, layer in self._walk()
            for name, array in layer._own_state().items()
            if prefix + name in state
        }
        for name, array in arrays.items():
            own[name][...] = array
        for _, layer in self._walk():
            layer._forget()  # it was computed with the state that is now gone
        return keys

    def _with_own_names(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Rename what goes by another library's names in a state."""
        other = {
            prefix + theirs: prefix + ours
            for prefix, layer in self._walk()
            for theirs, ours in layer._other_names.items()
            if prefix + theirs in state and prefix + ours not in state
        }
        if not other:
            return state
        return {other.get(name, name): state[name] for name in state}

    def _walk(self) -> Iterator[tuple[str, NamedArrays]]:
        """Yield the layer itself and all inside it, each with what its names begin with."""
        yield "", self
        for name, layer in self._layers.items():
            for prefix, inner in layer._walk():
                yield f"{name}.{prefix}", inner

    def _by_name(self, arrays: Callable[[NamedArrays], dict[str, AnyArray]]) -> dict[str, AnyArray]:
        return {
            prefix + name: array
            for prefix, layer in self._walk()
            for name, array in arrays(layer).items()
        }

    def _state(self) -> dict[str, AnyArray]:
        return self._by_name(lambda layer: layer._own_state())

    def _own_state(self) -> dict[str, AnyArray]:
        return {**self._parameters, **self._buffers}

    def _forget(self) -> None:
        """Drop what a backward would need."""

    @property
    def _class_name(self) -> str:
        return type(self).__name__

    def _new_name(self, name: str) -> str:
        if not isinstance(name, str):
            raise TypeError(f"{self._class_name}: name must be a str, got {type(name).__name__}")
        taken = [*self._parameters, *self._buffers, *self._layers]
        if not name or "." in name or name in taken:
            raise ValueError(
                f"{self._class_name}: name must be none of {taken} and without dots, got {name!r}"
            )
        return name

    def _array(self, name: str, array: AnyArray) -> AnyArray:
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"{self._class_name}: {name!r} must be a numpy.ndarray, got {type(array).__name__}"
            )
        return array
