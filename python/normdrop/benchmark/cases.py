"""The registry of cases: what is measured, and the fewest bytes that a call must move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from normdrop.benchmark.machine import Caches
from normdrop.benchmark.operations import OPERATIONS, operation_of

PEER_NAMES = ("numpy", "torch", "torch_compile", "jax", "onnxruntime")

# Below this size a call is all overhead, and a share of the copy bandwidth says nothing.
SMALLEST_BANDWIDTH_BYTES = 64 * 1024
_ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}

# An onnxruntime session computes what a model needs at inference: no training form, no gradient.
NORMS_AT_INFERENCE_ONLY = "computes norms at inference only"


@dataclass(frozen=True)
class Movement:
    """The fewest bytes of memory traffic of one call, and why it cannot be fewer."""

    bytes_moved: int
    reason: str


@dataclass(frozen=True)
class Case:
    """One operation on one array.

    Attributes
    ----------
    op : str
        One of `normdrop.benchmark.operations.OPERATIONS`.
    direction : str
        ``forward`` (of batch norm: the training form), ``backward`` or ``inference``.
    shape : tuple of int
        Logical shape; (N, C, ...) for channels first and last.
    layout : str
        ``rows`` (the last axis is normalised), ``nchw`` and ``nhwc`` (of any rank from 3 on),
        ``nc``, ``units`` (the first axis is kept) or ``flat``.
    dtype : str
        ``float32`` or ``float64``; on a GPU also ``bfloat16`` or ``float16``.
    quick : bool
        Whether the case belongs to the short selection of ``--quick``.
    note : str
        What the case stands for, where the shape does not say it.
    """

    op: str
    direction: str
    shape: tuple[int, ...]
    layout: str
    dtype: str = "float32"
    quick: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """Unique name, as printed, stored and accepted on the command line."""
        sizes = "x".join(str(size) for size in self.shape)
        layout = f"-{self.layout}" if self.layout in ("nchw", "nhwc") else ""
        dtype = "" if self.dtype == "float32" else f"-{self.dtype}"
        return f"{self.op}-{self.direction}{layout}-{sizes}{dtype}"

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Case:
        """Invert `dataclasses.asdict`, also after a way through JSON."""
        return cls(**{**fields, "shape": tuple(fields["shape"])})

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Shape of the C-contiguous array that holds the data."""
        if self.layout == "nhwc":
            batch, channels, *inner = self.shape
            return (batch, *inner, channels)
        return self.shape

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in ``memory_shape``."""
        return -1 if self.layout == "nhwc" else 1

    @property
    def parameters(self) -> int:
        """Length of weight and bias; 0 where there are none."""
        return operation_of(self).parameters(self)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _ITEM_BYTES[self.dtype]

    @property
    def array_bytes(self) -> int:
        """Bytes of x."""
        return prod(self.shape) * self.itemsize

    @property
    def measures_bandwidth(self) -> bool:
        """Whether the case is large enough to speak of bandwidth."""
        return self.array_bytes >= SMALLEST_BANDWIDTH_BYTES

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that can do this work at all."""
        operation = operation_of(self)
        others = {"torch_compile": "torch" in operation.peers}
        others["onnxruntime"] = self.direction in operation.onnx
        return tuple(name for name in PEER_NAMES if others.get(name, name in operation.peers))

    def movement(self, caches: Caches, threads: int) -> Movement:
        """Count the fewest bytes this call must move on these caches with so many threads."""
        operation = operation_of(self)
        read, written = operation.traffic[self.direction]
        names = " and ".join(read)
        once = (len(read) + len(written)) * self.array_bytes + self._parameter_bytes
        if operation.reduced is None:
            mask = "; no mask stored" if written == ("result",) else ""
            return Movement(once, f"{names} read, {' and '.join(written)} written{mask}")
        if self.direction == "inference":
            return Movement(once, "x read, y written; the statistics are given")
        values, unit_name = operation.reduced(self)
        unit = len(read) * values * self.itemsize
        size = f"{unit_name} ({unit / 1024:g} KiB)"
        if caches.holds(unit, threads):
            level = "a core's own cache" if unit <= caches.per_core else "the last level"
            return Movement(once, f"{names} read once: {size} stays in {level}")
        return Movement(
            once + len(read) * self.array_bytes,
            f"{names} read twice: {size} leaves the cache between the two passes",
        )

    @property
    def _parameter_bytes(self) -> int:
        return 2 * self.parameters * self.itemsize


def _dropout_cases() -> list[Case]:
    quick = 4_194_304
    sizes = (65_536, quick, 33_554_432)
    return [
        Case(
            "dropout", direction, (size,), "flat", quick=(direction, size) == ("forward", sizes[1])
        )
        for direction in ("forward", "backward")
        for size in sizes
    ]


def _layer_norm_cases() -> list[Case]:
    forward = [
        Case("layer_norm", "forward", (4, 16), "rows", quick=True, note="overhead of one call"),
        Case("layer_norm", "forward", (128, 768), "rows"),
        Case("layer_norm", "forward", (4096, 1024), "rows", quick=True),
        Case("layer_norm", "forward", (32768, 1024), "rows"),
        Case("layer_norm", "forward", (262144, 64), "rows"),
        Case("layer_norm", "forward", (1024, 65536), "rows"),
        Case("layer_norm", "forward", (16, 1_048_576), "rows"),
        Case("layer_norm", "forward", (4096, 1024), "rows", "float64"),
    ]
    backward = [
        Case("layer_norm", "backward", (128, 768), "rows"),
        Case("layer_norm", "backward", (4096, 1024), "rows", quick=True),
        Case("layer_norm", "backward", (32768, 1024), "rows"),
    ]
    return forward + backward


def _batch_norm_cases() -> list[Case]:
    images = (
        ("nchw", (32, 64, 56, 56)),
        ("nchw", (32, 512, 7, 7)),
        ("nchw", (64, 256, 14, 14)),
        ("nhwc", (32, 64, 56, 56)),
    )
    cases = []
    for direction in ("forward", "backward"):
        for layout, shape in images:
            quick = direction == "forward" and (layout, shape) == images[0]
            cases.append(Case("batch_norm", direction, shape, layout, quick=quick))
        cases.append(Case("batch_norm", direction, (8192, 1024), "nc"))
    cases.append(Case("batch_norm", "inference", images[0][1], "nchw"))
    cases.append(Case("batch_norm", "forward", (16, 64, 56, 56), "nchw", "float64"))
    return cases


def _other_cases() -> list[Case]:
    """One shape for each of the other operations, forward and backward."""
    image, rows = (32, 64, 56, 56), (4096, 1024)
    shapes = (
        ("rms_norm", rows, "rows"),
        ("dropout_add_layer_norm", rows, "rows"),
        ("dropout_add_rms_norm", rows, "rows"),
        ("group_norm", image, "nchw"),
        ("group_norm", image, "nhwc"),
        ("instance_norm", image, "nchw"),
        ("weight_norm", (4096, 4096), "units"),
        ("prelu", image, "nchw"),
        ("alpha_dropout", (4_194_304,), "flat"),
        ("gaussian_dropout", (4_194_304,), "flat"),
        ("uniform_dropout", (4_194_304,), "flat"),
        ("spatial_dropout", image, "nchw"),
        ("drop_path", image, "nchw"),
    )
    return [
        Case(op, direction, shape, layout)
        for op, shape, layout in shapes
        for direction in ("forward", "backward")
    ]


CASES: tuple[Case, ...] = (
    *_dropout_cases(),
    *_layer_norm_cases(),
    *_batch_norm_cases(),
    *_other_cases(),
)
OPS: tuple[str, ...] = tuple(dict.fromkeys(case.op for case in CASES))


def find_case(name: str) -> Case:
    """Return the case of this name; a KeyError where there is none."""
    for case in CASES:
        if case.name == name:
            return case
    raise KeyError(name)


def _fits(case: Case, word: str) -> bool:
    """Tell whether a word is part of the name; one that begins with an operation means it alone."""
    op = word.partition("-")[0]
    return word in case.name and (op not in OPERATIONS or op == case.op)


def select_cases(
    wanted: Sequence[str] = (), *, quick: bool = False, cases: Iterable[Case] = CASES
) -> list[Case]:
    """Choose cases by operation or by any part of a case's name.

    Parameters
    ----------
    wanted : sequence of str
        ``layer_norm``, ``batch_norm-backward``, ``nhwc``, ``4096x1024``...; empty means all.
    quick : bool
        Keep only the short selection. Where that would leave nothing of what was asked
        for, everything that was asked for stays.

    Raises
    ------
    ValueError
        Where a word fits no case.
    """
    cases = list(cases)
    for word in wanted:
        if not any(_fits(case, word) for case in cases):
            raise ValueError(
                f"bench: no case fits {word!r}; operations are {', '.join(OPS)}, "
                f"case names look like {cases[0].name}"
            )
    chosen = [case for case in cases if not wanted or any(_fits(case, word) for word in wanted)]
    short = [case for case in chosen if case.quick]
    return short if quick and short else chosen
