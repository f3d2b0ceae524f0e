"""What the benchmark knows of an operation: one record, from which everything else follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

EPS = 1e-5
DROP_PROBABILITY = 0.1
CACHE_LINE_BYTES = 64

# Layouts of images and sequences, whatever their rank, and of two axes.
CHANNEL_LAYOUTS = ("nchw", "nhwc", "nc")


class Call(NamedTuple):
    """A function of a library with its arguments; ``keep`` tells the mask of a dropout backward."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keep: Callable[[], Any] | None = None
    recorded: bool = False  # by autograd: there is no function that a compiler could take


# Builds the call of a case from the library and the arrays by name.
Builder = Callable[[Any, "Case", Any], Call]


class Traffic(NamedTuple):
    """Arrays as large as x that a call reads and writes at least."""

    read: tuple[str, ...]
    written: tuple[str, ...]


class Set(NamedTuple):
    """The least part of x that must be seen whole before its results are known."""

    values: int
    name: str


@dataclass(frozen=True)
class Input:
    """An array beside x: as large as x, or of one number for each parameter.

    ``single`` ones are float32 beside a half type.
    """

    name: str
    mean: float
    std: float
    like_x: bool = False
    positive: bool = False
    single: bool = False
    directions: tuple[str, ...] = ("forward", "backward", "inference")


GRAD_OUTPUT = Input("grad_output", 0.0, 1.0, like_x=True, directions=("backward",))
WEIGHT = Input("weight", 1.0, 0.2)
BIAS = Input("bias", 0.0, 0.2)


class Geometry(NamedTuple):
    """Where a norm has its statistics and its parameters, on x reshaped to ``shape``."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    parameter_axes: tuple[int, ...]  # over which parameters are constant
    parameter_shape: tuple[int, ...]
    centred: bool = True  # whether the mean is taken off
    factor: float = 1.0  # of the weight


class OnnxNode(NamedTuple):
    """A model of one node: its name, its inputs beside x, its attributes."""

    name: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes
    ----------
    name : str
        As in ``normdrop.<name>``, but for forms of dropout that share draws.
    layouts : tuple of str
        The layouts in which a case can come.
    ours : Builder
        The call of this package; of ``normdrop.reference`` as well, which has the same functions.
    traffic : mapping of str to Traffic
        By direction: these are the directions that are measured.
    inputs : tuple of Input
        Arrays beside x, in the order in which they are drawn.
    parameters : callable
        How many numbers weight and bias have each; 0 where there are none.
    reduced : callable or None
        The set that a case reduces; None where every element stands for itself.
    peers : mapping of str to Builder
        How others do the same, by library; ``torch_on_device`` where a device's autograd calls
        other functions than ``torch``.
    onnx : mapping of str to OnnxNode
        By direction.
    without_out : tuple of str
        Directions whose function has no ``out=``.
    fewest_values : int
        That a set must have.
    geometry : callable or None
        Of a norm: where it has its statistics and its parameters.
    judged_by : str or None
        What of a case is judged by itself: ``rows``, ``channels``, ``samples`` or ``units``;
        ``mask`` for dropout; None where peers draw numbers of their own in the midst of it.
    parameters_of_x : bool
        Whether parameters have the dtype of x also where that is a half type on a GPU, since
        PyTorch takes no others there.
    """

    name: str
    layouts: tuple[str, ...]
    ours: Builder
    traffic: Mapping[str, Traffic]
    inputs: tuple[Input, ...] = (GRAD_OUTPUT,)
    parameters: Callable[[Case], int] = lambda case: 0
    reduced: Callable[[Case], Set] | None = None
    peers: Mapping[str, Builder] = field(default_factory=dict)
    onnx: Mapping[str, OnnxNode] = field(default_factory=dict)
    without_out: tuple[str, ...] = ()
    fewest_values: int = 1
    geometry: Callable[[Case], Geometry] | None = None
    judged_by: str | None = None
    parameters_of_x: bool = True

    def inputs_of(self, case: Case) -> list[tuple[Input, tuple[int, ...]]]:
        """List the arrays beside x that a case needs, with their shapes in memory."""
        return [
            (given, case.memory_shape if given.like_x else (self.parameters(case),))
            for given in self.inputs
            if case.direction in given.directions
        ]


def arrays_of(result: Any) -> tuple[Any, ...]:
    """Return the arrays among what a call returned: without statistics, masks and None."""
    members = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(member for member in members if hasattr(member, "dtype"))


def last_size(case: Case) -> int:
    """Count the parameters of a norm of rows."""
    return case.shape[-1]


def channels(case: Case) -> int:
    """Count the parameters of a norm of channels."""
    return case.shape[1]


def row(case: Case) -> Set:
    """Return the set of a norm of rows."""
    return Set(case.shape[-1], "a row")


def channel(case: Case) -> Set:
    """Return a channel; side by side, a cache line brings several, none of them alone."""
    values = prod(case.shape) // case.shape[1]
    if case.layout == "nchw":
        return Set(values, "a channel")
    line = min(CACHE_LINE_BYTES // case.itemsize, case.shape[1])
    return Set(values * line, "a cache line's width of channels")


def _broadcast_axes(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find the axes over which parameters are constant, and the shape in which they broadcast."""
    rank = len(case.memory_shape)
    own = rank - 1 if case.layout == "rows" else case.channel_axis % rank
    count = case.memory_shape[own]
    shape = tuple(count if axis == own else 1 for axis in range(rank))
    return tuple(axis for axis in range(rank) if axis != own), shape


def row_geometry(case: Case) -> Geometry:
    """Describe a norm over the last axis."""
    others, parameter_shape = _broadcast_axes(case)
    return Geometry(case.memory_shape, (len(case.shape) - 1,), others, parameter_shape)


def channel_geometry(case: Case) -> Geometry:
    """Describe a norm over all axes but that of the channels."""
    others, parameter_shape = _broadcast_axes(case)
    return Geometry(case.memory_shape, others, others, parameter_shape)


def group_geometry(groups: Callable[[Case], int]) -> Callable[[Case], Geometry]:
    """Describe a norm of groups of channels: x with the channels as (groups, channels of one)."""

    def describe(case: Case) -> Geometry:
        own = case.channel_axis % len(case.shape)
        sizes, count = case.memory_shape, groups(case)
        shape = (*sizes[:own], count, sizes[own] // count, *sizes[own + 1 :])
        axes = tuple(axis for axis in range(1, len(shape)) if axis != own)
        others = tuple(axis for axis in range(len(shape)) if axis not in (own, own + 1))
        ones = tuple(size if axis not in others else 1 for axis, size in enumerate(shape))
        return Geometry(shape, axes, others, ones)

    return describe
