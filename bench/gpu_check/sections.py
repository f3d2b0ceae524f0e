"""What a run consists of. Nothing here needs the package, which may not be built yet."""

from __future__ import annotations

from dataclasses import dataclass

BENCHES = (
    "layer-norm",
    "layer-norm-backward",
    "batch-norm",
    "batch-norm-backward",
    "dropout",
    "family",
)
PEERS = ("torch", "torch_compile", "cupy", "jax")


@dataclass(frozen=True)
class Section:
    """One process of a run."""

    name: str
    about: str


# A part of one section ends within eight minutes: after so many seconds, with those of the build,
# nothing new begins, and what was begun has half a minute to end.
PART_SECONDS = 420.0
GRACE_SECONDS = 30.0
DRY_RUN_SECONDS = 3600.0  # no card is held meanwhile, and a busy machine may take its time
SECTIONS = (
    Section("tests", "operation tests, masks and outputs bit for bit"),
    Section("safety", "compute-sanitizer, streams, graphs, errors"),
    *(Section(name, "times of " + name.replace("-", " ")) for name in BENCHES),
)


def sections_of_part(part: str) -> tuple[Section, ...]:
    """Return the sections of part ``i/n``, in order; a ValueError says what is wrong with it."""
    number, _, count = part.partition("/")
    if not (number.isdigit() and count.isdigit()):
        raise ValueError(f"gpu-check: part must be i/n, got {part!r}")
    i, n = int(number), int(count)
    if not 1 <= i <= n <= len(SECTIONS):
        raise ValueError(
            f"gpu-check: part must be i/n with 1 <= i <= n <= {len(SECTIONS)}, got {part!r}"
        )
    first, end = ((i + shift) * len(SECTIONS) // n for shift in (-1, 0))
    return SECTIONS[first:end]


def peers_in(text: str) -> tuple[str, ...]:
    """Return the peers of ``torch,jax``; ``none`` for none of them."""
    names = () if text == "none" else tuple(text.split(","))
    for name in names:
        if name not in PEERS:
            raise ValueError(f"gpu-check: peers are {', '.join(PEERS)} or none, got {name!r}")
    return names
