"""What the functions of dropout's family share: their calls, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from normdrop import _core
from normdrop._typing import Axis
from normdrop.functional.drawn_mask import WORDS, DrawnMask
from normdrop.functional.rng import DeviceRng, draw_seed

Mask = TypeVar("Mask", bound=DrawnMask)


class Noise(NamedTuple):
    """What a word does to its elements; see ``csrc/ops/dropout.h``.

    The three numbers (scale, shift, what is dropped) once for float32 and the half types, and once
    for float64.
    """

    kind: str
    single: tuple[float, float, float]
    double: tuple[float, float, float]
    threshold: int = WORDS


class Drawn(NamedTuple):
    """How the words of a call were drawn."""

    seed: int
    call: int
    device_draw: Any
    shape: tuple[int, ...]
    shared_axes: Axis

    def mask(
        self, here: Callable[..., Mask], on_device: Callable[..., Mask], strength: float
    ) -> Mask:
        """Make the mask, of the class for draws that lie on a device where this one does."""
        if self.device_draw is None:
            return here(self.seed, self.call, strength, self.shape, self.shared_axes)
        axes = _core.shared_axes("shared_axes", self.shared_axes, len(self.shape))  # as checked
        return on_device(self.device_draw, strength, self.shape, axes)


def forward(
    function: str, noise: Noise, x: Any, rng: DeviceRng, shared_axes: Axis, out: Any
) -> tuple[Any, Drawn]:
    """Apply noise to x, and tell how it was drawn."""
    draw = draw_seed(function, rng)
    y: Any = _apply((function, "x"), noise, x, draw, shared_axes, None, out)
    return y, Drawn(*draw, tuple(y.shape), shared_axes)


def backward(function: str, noise: Noise, grad_output: Any, mask: DrawnMask, out: Any) -> Any:
    """Apply noise drawn as a mask says."""
    name = (function, "grad_output")
    return _apply(name, noise, grad_output, drawn_as(mask), mask.shared_axes, mask.shape, out)


def _apply(
    name: tuple[str, str],
    noise: Noise,
    x: Any,
    draw: tuple[int, int, Any],
    shared_axes: Axis,
    shape: tuple[int, ...] | None,
    out: Any,
) -> Any:
    """Call the kernel; ``name`` is that of the function and of what x is to it."""
    seed, call, on_device = draw
    return _core.noise(
        noise.kind,
        noise.single,
        noise.double,
        *name,
        x,
        seed,
        call,
        noise.threshold,
        shared_axes,
        on_device,
        shape,
        out,
    )


def drawn_as(mask: DrawnMask) -> tuple[int, int, Any]:
    """Seed, call and None, or 0, 0 and the array on a device that holds them."""
    draw = mask._device_draw
    return (mask.seed, mask.call, None) if draw is None else (0, 0, draw)


def require_mask(function: str, mask: object, kind: type[Mask]) -> Mask:
    """Return the mask if it is of its function's class."""
    if not isinstance(mask, kind):
        article = "an" if kind.__name__.startswith("A") else "a"
        raise TypeError(
            f"{function}: mask must be {article} {kind.__name__}, got {type(mask).__name__}"
        )
    return mask
