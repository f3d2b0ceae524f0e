"""What a benchmark found: rows, cells, and their form in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from normdrop.benchmark.cases import Case, Movement
from normdrop.benchmark.timing import Samples, quartiles

FORMAT = 1
VARIANTS = ("fresh", "out", "kept")  # of ours: how results come into memory, see `Row`
# A peer ahead of us by more than this is a loss; less is noise on any shared machine.
LOSS_RATIO = 0.97


@dataclass(frozen=True)
class Cell:
    """One peer on one case.

    Attributes
    ----------
    samples : Samples or None
        Its times; None where there are none.
    error_units : float or None
        Its worst error, as `normdrop.benchmark.accuracy` counts it.
    ratio, ratio_lower, ratio_upper : float or None
        Its time over ours, of the medians; quartiles over the rounds.
    missing : str or None
        Why there are no times.
    """

    samples: Samples | None = None
    error_units: float | None = None
    ratio: float | None = None
    ratio_lower: float | None = None
    ratio_upper: float | None = None
    missing: str | None = None

    @property
    def ms(self) -> float | None:
        """Median time in milliseconds."""
        return None if self.samples is None else 1e3 * self.samples.median

    @property
    def is_loss(self) -> bool:
        """Whether the peer was faster beyond the spread of the ratio."""
        lost = self.ratio is not None and self.ratio < LOSS_RATIO
        return lost and (self.ratio_upper is None or self.ratio_upper < 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain types."""
        samples = None if self.samples is None else self.samples.to_dict()
        error = _encode_float(self.error_units)
        return {**asdict(self), "samples": samples, "error_units": error, "ms": self.ms}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Cell:
        """Invert `to_dict`."""
        kept = {name: value for name, value in fields.items() if name != "ms"}
        if kept["samples"] is not None:
            kept["samples"] = Samples.from_dict(kept["samples"])
        kept["error_units"] = _decode_float(kept["error_units"])
        return cls(**kept)


def copy_speeds(case: Case, copies: Mapping[str, Samples]) -> dict[str, float]:
    """Turn the times of ``copy_<name>`` of an array as large as x into GB/s by name."""
    return {
        name.removeprefix("copy_"): 2e-9 * case.array_bytes / samples.median
        for name, samples in copies.items()
    }


def compare_cells(samples: Samples, ours: Samples, error_units: float | None) -> Cell:
    """Make the cell of a peer measured in the same rounds as ours."""
    by_round = [theirs / own for theirs, own in zip(samples.rounds, ours.rounds, strict=True)]
    lower, _, upper = quartiles(by_round)
    return Cell(samples, error_units, samples.median / ours.median, lower, upper)


@dataclass(frozen=True)
class Row:
    """One case: our times in every variant, the copy beside them, and the peers.

    Attributes
    ----------
    case, op, direction, shape, layout, dtype : str, tuple
        The case, see `normdrop.benchmark.cases.Case`.
    bytes_moved : int
        The fewest bytes a call must move on this machine.
    bytes_reason : str
        Why it cannot be fewer.
    variants : dict of str to Samples
        Ours: ``fresh`` outputs, ``out`` (into given memory, where the function has ``out=``) and
        ``kept`` (all results alive).
    error_units : float or None
        Our worst error.
    copy_gb_per_s : dict of str to float
        Bandwidth, read and written bytes, of a ``plain`` and a ``streaming`` copy of an array as
        large as x; empty where the case is too small to speak of bandwidth.
    peers : dict of str to Cell
        The peers that were asked for.
    """

    case: str
    op: str
    direction: str
    shape: tuple[int, ...]
    layout: str
    dtype: str
    bytes_moved: int
    bytes_reason: str
    variants: dict[str, Samples]
    error_units: float | None
    copy_gb_per_s: dict[str, float] = field(default_factory=dict)
    peers: dict[str, Cell] = field(default_factory=dict)

    @classmethod
    def of_case(cls, case: Case, movement: Movement, **found: Any) -> Row:
        """Make the row of a case; ``found`` are the fields that were measured."""
        return cls(
            case=case.name,
            op=case.op,
            direction=case.direction,
            shape=case.shape,
            layout=case.layout,
            dtype=case.dtype,
            bytes_moved=movement.bytes_moved,
            bytes_reason=movement.reason,
            **found,
        )

    @property
    def ours_ms(self) -> float:
        """Our median time with fresh outputs, in milliseconds."""
        return 1e3 * self.variants["fresh"].median

    @property
    def gb_per_s(self) -> float | None:
        """Fewest bytes over our time with fresh outputs; None for tiny cases."""
        return self.gb_per_s_of("fresh")

    @property
    def share_of_copy(self) -> float | None:
        """``gb_per_s`` over the better copy; None for tiny cases."""
        return self.share_of_copy_of("fresh")

    def gb_per_s_of(self, variant: str) -> float | None:
        """Fewest bytes over the time of a variant, in 10**9 bytes a second."""
        if not self.copy_gb_per_s or variant not in self.variants:
            return None
        return 1e-9 * self.bytes_moved / self.variants[variant].median

    def share_of_copy_of(self, variant: str) -> float | None:
        """Bandwidth of a variant over that of the better copy."""
        speed = self.gb_per_s_of(variant)
        return None if speed is None else speed / max(self.copy_gb_per_s.values())

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain types."""
        return {
            **asdict(self),
            "variants": {name: samples.to_dict() for name, samples in self.variants.items()},
            "error_units": _encode_float(self.error_units),
            "peers": {name: cell.to_dict() for name, cell in self.peers.items()},
            "ours_ms": self.ours_ms,
            "gb_per_s": self.gb_per_s,
            "share_of_copy": self.share_of_copy,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Row:
        """Invert `to_dict`."""
        derived = ("ours_ms", "gb_per_s", "share_of_copy")
        kept = {name: value for name, value in fields.items() if name not in derived}
        kept["shape"] = tuple(kept["shape"])
        kept["variants"] = {k: Samples.from_dict(v) for k, v in kept["variants"].items()}
        kept["error_units"] = _decode_float(kept["error_units"])
        kept["peers"] = {k: Cell.from_dict(v) for k, v in kept["peers"].items()}
        return cls(**kept)


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes
    ----------
    date : str
        UTC, ISO 8601.
    commit : str or None
        Of the checkout the package ran from.
    machine, versions, settings : dict
        What it ran on and how.
    rows : list of Row
        One per case measured.
    unavailable : dict of str to str
        Peers that were asked for and could not run, with the reason.
    skipped : dict of str to str
        Cases that were not measured, with the reason.
    findings : dict
        What a run found beside times, in plain types: checks, targets, host times.
    interrupted : bool
        Whether Ctrl-C or a failure ended the run; ``rows`` are the cases finished by then.
    """

    date: str
    commit: str | None
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    rows: list[Row]
    unavailable: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def peer_names(self) -> list[str]:
        """Peers with at least one time, in the order of the rows."""
        timed = (
            name for row in self.rows for name, cell in row.peers.items() if cell.ratio is not None
        )
        return list(dict.fromkeys(timed))

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for `json.dumps`."""
        fields = {name: value for name, value in vars(self).items() if name != "rows"}
        return {"format": FORMAT, **fields, "rows": [row.to_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Report:
        """Invert `to_dict`."""
        if fields.get("format") != FORMAT:
            raise ValueError(f"results: format must be {FORMAT}, got {fields.get('format')!r}")
        kept = {name: value for name, value in fields.items() if name != "format"}
        kept["rows"] = [Row.from_dict(row) for row in kept["rows"]]
        return cls(**kept)

    def to_json(self) -> str:
        """Return the text of the JSON file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a JSON file."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))


def _encode_float(value: float | None) -> float | str | None:
    """JSON has no infinity: it becomes the text 'inf'."""
    return value if value is None or abs(value) < float("inf") else str(value)


def _decode_float(value: float | str | None) -> float | None:
    return None if value is None else float(value)
