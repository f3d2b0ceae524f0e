"""The cases that sections time, the bytes that each must move, and the targets."""

from __future__ import annotations

from dataclasses import dataclass

from normdrop.benchmark.cases import Case, Movement
from normdrop.benchmark.machine import Caches
from normdrop.benchmark.operations import OPERATIONS

DTYPES = ("float32", "bfloat16")

# What 16 blocks can keep in their shared memory, 227 KiB each: a row or a channel of up to this
# size is read from memory once.
_CLUSTER = Caches(16 * 227 * 1024, 16 * 227 * 1024, 1, "assumed")

_ROWS = (
    (32768, 256),
    (32768, 512),
    (32768, 1024),
    (32768, 2048),
    (32768, 4096),
    (32768, 8192),
    (16384, 16384),
    (4096, 65536),
    (1024, 262144),
)
# Images with many and with few channels, then two axes with many and with few.
_CHANNELS = (
    ("nchw", (256, 64, 56, 56)),
    ("nchw", (256, 256, 28, 28)),
    ("nchw", (256, 2048, 7, 7)),
    ("nchw", (128, 3, 224, 224)),
    ("nhwc", (256, 64, 56, 56)),
    ("nhwc", (256, 256, 28, 28)),
    ("nc", (16384, 4096)),
    ("nc", (4194304, 16)),
)
_AT_INFERENCE = (_CHANNELS[0], _CHANNELS[4])
_DROPOUT_SIZES = (1 << 22, 1 << 25, 1 << 28)
# Of every other operation of the benchmark, a shape for each of its layouts.
_HAVE_SECTIONS = ("layer_norm", "batch_norm", "dropout")
_OF_LAYOUT: dict[str, tuple[int, ...]] = {
    "rows": (32768, 4096),
    "nchw": (256, 256, 28, 28),
    "nhwc": (256, 256, 28, 28),
    "units": (8192, 8192),
    "flat": (1 << 25,),
}

_TINY_ROWS = ((6, 40), (2, 300))
_TINY_CHANNELS = (("nchw", (2, 3, 4, 5)), ("nhwc", (2, 3, 4, 5)), ("nc", (7, 5)))
_TINY_DROPOUT = (37,)
_TINY_OF_LAYOUT: dict[str, tuple[int, ...]] = {
    "rows": (6, 40),
    "nchw": (2, 32, 4, 5),
    "nhwc": (2, 32, 4, 5),
    "units": (7, 40),
    "flat": (37,),
}


def cases_of(bench: str, tiny: bool) -> list[Case]:
    """Return what a section times; ``tiny`` for a dry run."""
    rows = _TINY_ROWS if tiny else _ROWS
    channels = _TINY_CHANNELS if tiny else _CHANNELS
    sizes = _TINY_DROPOUT if tiny else _DROPOUT_SIZES
    of_layout = _TINY_OF_LAYOUT if tiny else _OF_LAYOUT
    at_inference = _TINY_CHANNELS[:1] if tiny else _AT_INFERENCE
    shapes = {
        "layer-norm": [("layer_norm", "forward", shape, "rows") for shape in rows],
        "layer-norm-backward": [("layer_norm", "backward", shape, "rows") for shape in rows],
        "batch-norm": [
            *(("batch_norm", "forward", shape, layout) for layout, shape in channels),
            *(("batch_norm", "inference", shape, layout) for layout, shape in at_inference),
        ],
        "batch-norm-backward": [
            ("batch_norm", "backward", shape, layout) for layout, shape in channels
        ],
        "dropout": [
            ("dropout", direction, (size,), "flat")
            for size in sizes
            for direction in ("forward", "backward")
        ],
        "family": [
            (name, direction, of_layout[layout], layout)
            for name, operation in OPERATIONS.items()
            if name not in _HAVE_SECTIONS
            for layout in operation.layouts
            if layout in of_layout
            for direction in operation.traffic
        ],
    }
    return [Case(*which, dtype) for which in shapes[bench] for dtype in DTYPES]


def movement(case: Case) -> Movement:
    """Count the fewest bytes of one call on a GPU with clusters of blocks."""
    counted = case.movement(_CLUSTER, threads=1)
    reason = counted.reason.replace("a core's own cache", "a cluster of blocks")
    return Movement(counted.bytes_moved, reason.replace("leaves the cache", "leaves the cluster"))


@dataclass(frozen=True)
class Target:
    """What the project wants of a case: a share of the copy bandwidth, ratios to PyTorch."""

    share_of_copy: float | None
    torch_ratio: float = 0.97


HOST_MICROSECONDS = 8.0


def target_of(case: Case) -> Target:
    """Return the target of a case; no share where the project has set none."""
    return Target(_share_wanted(case))


def _share_wanted(case: Case) -> float | None:
    if case.op not in _HAVE_SECTIONS:
        return None
    length = case.shape[-1]
    if case.op == "batch_norm":
        return 0.80
    if case.op == "dropout":
        return 0.85 if case.dtype == "float32" else None
    if case.direction == "backward":
        return 0.80 if 1024 <= length <= 16384 else None
    if length in (256, 512):
        return 0.75
    return 0.85 if 1024 <= length <= 65536 else None
