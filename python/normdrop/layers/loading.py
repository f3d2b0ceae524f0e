"""What a saved array must be to go into one of a layer, and how it is converted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from normdrop._typing import AnyArray


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(state, strict=False)`` left out.

    Attributes
    ----------
    missing_keys : list of str
        Names of the layer that the state does not have; their arrays are as before.
    unexpected_keys : list of str
        Names of the state that the layer does not have.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


def check_names(layer: str, keys: IncompatibleKeys) -> None:
    """Refuse a state with other names than the layer's."""
    if any(keys):
        raise ValueError(
            f"{layer}: state must have the names of state_dict() and no other, got it without "
            f"{keys.missing_keys} and with {keys.unexpected_keys}; strict=False leaves them out"
        )


def fitted(layer: str, name: str, value: Any, own: AnyArray) -> AnyArray:
    """Return a value of a state in the dtype of the layer's own array, whose shape it must have."""
    if not isinstance(value, np.ndarray | np.generic | int | float):
        raise TypeError(
            f"{layer}: state {name!r} must be a numpy.ndarray, got {type(value).__name__}"
            + ("; pass its .numpy()" if hasattr(value, "numpy") else "")
        )
    array = np.asarray(value)
    if array.shape != own.shape:
        raise ValueError(f"{layer}: state {name!r} must have shape {own.shape}, got {array.shape}")
    if array.dtype == "V2" and own.dtype.name == "bfloat16":
        array = array.view(own.dtype)
    _check_dtype(layer, name, array, own.dtype)
    return array.astype(own.dtype)


def _check_dtype(layer: str, name: str, array: AnyArray, own: np.dtype[Any]) -> None:
    whole, given = own.kind in "iu", array.dtype
    is_of_ml_dtypes = given.kind == "V" and given.type is not np.void
    if given.kind not in ("iu" if whole else "iuf") and (whole or not is_of_ml_dtypes):
        raise TypeError(
            f"{layer}: state {name!r} must have {'an integer' if whole else 'a real'} dtype, to go "
            f"into {own}, got {given}{_RAW_BYTES if given.type is np.void else ''}"
        )
    if whole and not (array.astype(own) == array).all():
        raise ValueError(f"{layer}: state {name!r} must hold numbers of {own}, got {array}")


_RAW_BYTES = (
    "; raw bytes are what numpy.load makes of a dtype that it does not know: pass "
    "array.view(ml_dtypes.bfloat16), or .view() of the dtype that was saved"
)
