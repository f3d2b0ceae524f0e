"""Sums from which a batch norm's gradient of x is made: those of parts of a batch add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from normdrop import _core
from normdrop._comparison import same_values

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from normdrop._typing import FloatArray

    Statistic = TypeVar("Statistic", default=FloatArray)
else:
    from typing import TypeVar

    Statistic = TypeVar("Statistic")


@dataclass(frozen=True, slots=True, eq=False)
class GradientSums(Generic[Statistic]):
    """Sums over the values of each channel, from which a batch norm's gradient of x is made.

    Those of parts of a batch add up: ``a + b`` adds them field by field, and so does
    ``sum(parts)``.

    Attributes
    ----------
    grad : ndarray of float64, shape (C,)
        Sum of ``grad_output``: the gradient of a bias.
    grad_x_hat : ndarray of float64, shape (C,)
        Sum of ``grad_output * (x - mean) * inv_std``: the gradient of a weight.
    count : int
        Number of values per channel.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop import GradientSums
    >>> GradientSums(np.ones(2), np.zeros(2), 3) + GradientSums(np.ones(2), np.ones(2), 4)
    GradientSums(grad=array([2., 2.]), grad_x_hat=array([1., 1.]), count=7)
    """

    grad: Statistic
    grad_x_hat: Statistic
    count: int

    def __add__(self, other: GradientSums[Statistic]) -> GradientSums[Statistic]:
        if not isinstance(other, GradientSums):
            return NotImplemented
        grad = _added("grad", self.grad, other.grad)
        grad_x_hat = _added("grad_x_hat", self.grad_x_hat, other.grad_x_hat)
        return GradientSums(grad, grad_x_hat, self.count + other.count)

    def __radd__(self, other: int) -> GradientSums[Statistic]:
        return self if type(other) is int and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GradientSums):
            return NotImplemented
        return all(
            same_values(getattr(self, name), getattr(other, name))
            for name in ("grad", "grad_x_hat", "count")
        )

    __hash__ = None  # type: ignore[assignment]


def _added(field: str, left: Any, right: Any) -> Any:
    """Add two arrays of one kind; those of a device stay there if they know how to add."""
    if tuple(left.shape) != tuple(right.shape):
        raise ValueError(
            f"GradientSums: {field} must have one shape in both, got {tuple(left.shape)} and "
            f"{tuple(right.shape)}"
        )
    if isinstance(left, _core.DeviceArray) and isinstance(right, _core.DeviceArray):
        return _core.DeviceArray.from_numpy(left.to_numpy() + right.to_numpy(), left.device)
    return left + right
