"""What layers with an array per channel share: the number of channels, and x checked against it."""

from __future__ import annotations

from normdrop._arguments import integer
from normdrop._typing import AnyArray


def channel_count(layer: str, argument: str, value: object, least: int = 0) -> int:
    """Return a number of channels."""
    count = integer(layer, argument, value)
    if count < least:
        raise ValueError(f"{layer}: {argument} must be {least} or greater, got {count}")
    return count


def check_channels(layer: str, argument: str, count: int, x: AnyArray, channel_axis: int) -> None:
    """Name the layer's argument rather than the weight; the function checks the axis."""
    shape = getattr(x, "shape", None)
    if not isinstance(shape, tuple) or not -len(shape) <= channel_axis < len(shape):
        return
    if len(shape) > 1 and shape[channel_axis] != count:
        raise ValueError(
            f"{layer}: x must have {argument} = {count} channels along axis {channel_axis}, "
            f"got {shape[channel_axis]} in {tuple(shape)}"
        )
