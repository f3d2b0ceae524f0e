"""What a section finds, kept in a file as it goes, so that a crash loses one case and no more."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OK, FAILED, DIFFERENT, SKIPPED = "ok", "FAILED", "different", "skipped"


class Skip(Exception):
    """This cannot be checked here; the text says why."""


class Different(Exception):
    """Results differ where they may; told, and no failure."""


@dataclass
class Check:
    """One thing that was checked: ``status`` is ok, FAILED, different (no failure) or skipped."""

    section: str
    name: str
    status: str
    detail: str = ""


@dataclass
class Findings:
    """All of a section; ``skipped`` are cases without times, ``extra`` whatever else is told."""

    section: str
    path: Path
    ends_at: float
    checks: list[Check] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def seconds_left(self) -> float:
        """Seconds until nothing new may begin."""
        return self.ends_at - time.monotonic()

    def save(self) -> None:
        """Write everything found so far."""
        kept = ("checks", "rows", "skipped", "unavailable", "extra")
        fields = {name: value for name, value in asdict(self).items() if name in kept}
        self.path.write_text(json.dumps(fields))

    def add(self, name: str, status: str, detail: str = "") -> None:
        """Note a check, and print it."""
        self.checks.append(Check(self.section, name, status, detail))
        print(f"  {status:9} {name}{': ' if detail else ''}{detail}", flush=True)
        self.save()

    def run(self, name: str, check: Callable[[], str | None]) -> None:
        """Run one check while there is time; it returns a detail, or raises."""
        if self.seconds_left() <= 0:
            self.add(name, SKIPPED, "out of time")
            return
        try:
            detail = check()
        except Skip as reason:
            self.add(name, SKIPPED, str(reason))
        except Different as difference:
            self.add(name, DIFFERENT, str(difference))
        except Exception as error:
            self.add(name, FAILED, describe_error(error))
        else:
            self.add(name, OK, detail or "")


def describe_error(error: BaseException) -> str:
    """Tell an exception in one line, with the place it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600] + place
