"""What all layers share: the order of calls, their mode, and the arrays they own by name."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from normdrop._arguments import flag
from normdrop._typing import AnyArray as AnyArray
from normdrop.layers.arrays import NamedArrays

Saved = TypeVar("Saved")
Self = TypeVar("Self", bound="Layer[Any]")


class Layer(NamedArrays, Generic[Saved]):
    """Base of every layer: one backward for each forward, arrays kept by name.

    A subclass names its arrays in ``__init__``, by :meth:`add_parameter` (what an optimiser
    changes) and :meth:`add_buffer` (other state that belongs into a checkpoint), and the layers
    inside it by :meth:`add_layer`. It writes two methods:

    ``_forward(x, training) -> (y, saved)``
        the result, and whatever the backward needs to remember;
    ``_backward(grad_output, saved) -> grad_x``
        the gradient of x; those of the parameters go to :meth:`set_gradient`.

    Attributes
    ----------
    training : bool
        The mode of a call that does not say ``training=``; see :meth:`train` and :meth:`eval`.

    Notes
    -----
    Between a call in training and its backward the layer holds a reference to ``x``, not a copy:
    leave ``x`` as it is until then. A call at inference keeps nothing, unless it is made with
    ``for_backward=True``. A layer is an ordinary Python object that two threads must not use at
    the same time; it can be copied and pickled.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import Layer
    >>> class Scale(Layer):
    ...     def __init__(self, columns):
    ...         super().__init__()
    ...         self.weight = self.add_parameter("weight", np.ones(columns))
    ...     def _forward(self, x, training):
    ...         return x * self.weight, x
    ...     def _backward(self, grad_output, saved):
    ...         self.set_gradient("weight", (grad_output * saved).sum(axis=0))
    ...         return grad_output * self.weight
    >>> layer = Scale(2)
    >>> y = layer(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> grad_x = layer.backward(np.ones((2, 2)))
    >>> layer.gradients()["weight"]
    array([4., 6.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = True
        self._saved: tuple[Saved] | None = None
        self._kept_nothing = False
        self._outer_keeps: bool | None = None

    def __call__(
        self, x: AnyArray, training: bool | None = None, *, for_backward: bool | None = None
    ) -> AnyArray:
        """Apply the layer, and remember what its backward needs if there will be one.

        Parameters
        ----------
        x : ndarray of float16, bfloat16, float32 or float64
            The input; it is not changed.
        training : bool, optional
            False asks for the behaviour at inference. The default is the layer's mode, which
            :meth:`train` and :meth:`eval` set: training, at first.
        for_backward : bool, optional
            Whether to keep what :meth:`backward` needs, ``x`` among it. The default is to keep it
            in training and nothing at inference.

        Returns
        -------
        ndarray
            A new array of the kind of ``x``.
        """
        self._forget()  # a call that fails must not leave an older one to differentiate
        in_training, keep = self._modes(training, for_backward)
        y, saved = self._forward_with_inner(x, in_training, keep)
        if keep:
            self._saved = (saved,)
        self._kept_nothing = not keep
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
            Before a forward call, a second time for the same one, or after one that kept nothing:
            at inference, ask for a backward by ``layer(x, training=False, for_backward=True)``.
        """
        if self._saved is None:
            raise RuntimeError(f"{self._class_name}: backward needs {self._needed_call()}")
        grad_x = self._backward(grad_output, *self._saved)
        self._saved = None
        return grad_x

    def train(self: Self, mode: bool = True) -> Self:
        """Set the mode of calls that do not say ``training=``; return the layer itself.

        The layers inside this one get the same mode.
        """
        self.training = flag(self._class_name, "mode", mode)
        for layer in self._layers.values():
            layer.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Make calls that do not say ``training=`` calls at inference; return the layer itself."""
        return self.train(False)

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, Saved]:
        raise NotImplementedError

    def _backward(self, grad_output: AnyArray, saved: Saved) -> AnyArray:
        raise NotImplementedError

    def _modes(self, training: bool | None, for_backward: bool | None) -> tuple[bool, bool]:
        """Whether a call is one of training, and whether it keeps what its backward needs."""
        mode = self.training if training is None else flag(self._class_name, "training", training)
        if for_backward is not None:
            return mode, flag(self._class_name, "for_backward", for_backward)
        return mode, mode if self._outer_keeps is None else self._outer_keeps

    def _forward_with_inner(
        self, x: AnyArray, training: bool, keep: bool
    ) -> tuple[AnyArray, Saved]:
        """Call ``_forward`` while the layers inside keep what this layer keeps."""
        inner = self._layers.values()
        if not inner:
            return self._forward(x, training)
        try:
            for layer in inner:
                layer._outer_keeps = keep
            return self._forward(x, training)
        finally:
            for layer in inner:
                layer._outer_keeps = None

    def _forget(self) -> None:
        self._saved = None
        self._kept_nothing = False

    def _needed_call(self) -> str:
        if self._kept_nothing:
            return (
                "a forward call that keeps what it needs: at inference "
                "layer(x, training=False, for_backward=True)"
            )
        return "a forward call before it, and only one backward belongs to each"
