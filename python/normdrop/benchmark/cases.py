"""The registry of cases: what is measured, and the fewest bytes that a call must move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from normdrop.benchmark.machine import Caches

PEER_NAMES = ("numpy", "torch", "torch_compile", "jax", "onnxruntime")
EPS = 1e-5
DROP_PROBABILITY = 0.1
CACHE_LINE_BYTES = 64

# Below this size a call is all overhead, and a share of the copy bandwidth says nothing.
SMALLEST_BANDWIDTH_BYTES = 64 * 1024
_ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}

# An onnxruntime session computes what a model needs at inference: no training form, no gradient.
_ONNX_WORK = {("layer_norm", "forward"), ("batch_norm", "inference")}
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
        ``layer_norm``, ``batch_norm`` or ``dropout``.
    direction : str
        ``forward`` (of batch norm: the training form), ``backward`` or ``inference``.
    shape : tuple of int
        Logical shape; (N, C, H, W) for both image layouts.
    layout : str
        ``rows`` (the last axis is normalised), ``nchw``, ``nhwc``, ``nc`` or ``flat``.
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

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Shape of the C-contiguous array that holds the data."""
        if self.layout == "nhwc":
            batch, channels, *inner = self.shape
            return (batch, *inner, channels)
        return self.shape

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in ``memory_shape`` (batch norm)."""
        return -1 if self.layout == "nhwc" else 1

    @property
    def parameters(self) -> int:
        """Length of weight and bias; 0 for dropout."""
        if self.op == "dropout":
            return 0
        return self.shape[-1] if self.layout == "rows" else self.shape[1]

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
        if (self.op, self.direction) in _ONNX_WORK:
            return PEER_NAMES
        return tuple(name for name in PEER_NAMES if name != "onnxruntime")

    def movement(self, caches: Caches, threads: int) -> Movement:
        """Count the fewest bytes this call must move on these caches with so many threads."""
        inputs = 2 if self.direction == "backward" else 1
        names = "x and grad_output" if inputs == 2 else "x"
        parameter_bytes = 2 * self.parameters * self.itemsize
        once = (inputs + 1) * self.array_bytes + parameter_bytes
        if self.op == "dropout":
            source = "grad_output" if inputs == 2 else "x"
            return Movement(2 * self.array_bytes, f"{source} read, result written; no mask stored")
        if self.direction == "inference":
            return Movement(once, "x read, y written; the statistics are given")
        unit, unit_name = self._reduction_unit()
        size = f"{unit_name} ({inputs * unit / 1024:g} KiB)"
        if caches.holds(inputs * unit, threads):
            level = "a core's own cache" if inputs * unit <= caches.per_core else "the last level"
            return Movement(once, f"{names} read once: {size} stays in {level}")
        return Movement(
            once + inputs * self.array_bytes,
            f"{names} read twice: {size} leaves the cache between the two passes",
        )

    def _reduction_unit(self) -> tuple[int, str]:
        """Bytes of the least part of x that must be seen whole before its results are known."""
        if self.layout == "rows":
            return self.shape[-1] * self.itemsize, "a row"
        values_per_channel = prod(self.shape) // self.shape[1]
        if self.layout == "nchw":
            return values_per_channel * self.itemsize, "a channel"
        # Channels lie side by side: a cache line brings several, none of them alone.
        line = min(CACHE_LINE_BYTES, self.shape[1] * self.itemsize)
        return values_per_channel * line, "a cache line's width of channels"


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


CASES: tuple[Case, ...] = (*_dropout_cases(), *_layer_norm_cases(), *_batch_norm_cases())
OPS: tuple[str, ...] = tuple(dict.fromkeys(case.op for case in CASES))


def find_case(name: str) -> Case:
    """Return the case of this name; a KeyError where there is none."""
    for case in CASES:
        if case.name == name:
            return case
    raise KeyError(name)


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
        if not any(word in case.name for case in cases):
            raise ValueError(
                f"bench: no case fits {word!r}; operations are {', '.join(OPS)}, "
                f"case names look like {cases[0].name}"
            )
    chosen = [case for case in cases if not wanted or any(word in case.name for word in wanted)]
    short = [case for case in chosen if case.quick]
    return short if quick and short else chosen
