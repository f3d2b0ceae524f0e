"""Fixtures: every test that takes ``backend`` runs once under each backend of this machine.

``NORMDROP_TEST_BACKENDS=cuda-emulated`` (names with commas between) runs those tests, and no
others, under the backends it names. ``NORMDROP_TEST_FRAMEWORKS=torch,jax`` runs those marked
``frameworks``, and no others, with these packages, none of which may then be missing.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdrop

try:
    import hypothesis
except ModuleNotFoundError:  # a machine with a GPU may be offline; test_properties skips itself
    hypothesis = None

sys.path.insert(
    0, str(Path(__file__).parent)
)  # cases, oracles and tolerances, however pytest imports

from cases import DTYPES, is_device

NEEDS_A_FRAMEWORK = re.compile(r"(?:could not import '|needs |^)(torch|jax|onnxruntime|onnx)\b")

if hypothesis is not None:
    hypothesis.settings.register_profile(
        "fixed", derandomize=True, deadline=None, max_examples=60, database=None
    )
    hypothesis.settings.load_profile("fixed")


def chosen_backends() -> list[str]:
    """Names in ``NORMDROP_TEST_BACKENDS``, else all but the emulation, which is slow."""
    usable = normdrop.backends()
    chosen = os.environ.get("NORMDROP_TEST_BACKENDS", "")
    if not chosen:
        return [name for name in usable if name != "cuda-emulated"]
    names = chosen.split(",")
    for name in names:
        if name not in usable:
            raise pytest.UsageError(
                f"NORMDROP_TEST_BACKENDS must name some of {', '.join(usable)}, got {name!r}"
            )
    return names


def chosen_frameworks() -> list[str]:
    """Names in ``NORMDROP_TEST_FRAMEWORKS``."""
    chosen = os.environ.get("NORMDROP_TEST_FRAMEWORKS", "")
    return chosen.split(",") if chosen else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, Any]:
    """What a missing framework skips carries the mark, and may not skip where one is named."""
    report = yield
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if found := NEEDS_A_FRAMEWORK.search(reason.removeprefix("Skipped: ")):
        marked = item.get_closest_marker("frameworks") is not None
        if not marked or found[1] in chosen_frameworks():
            why = "is named in NORMDROP_TEST_FRAMEWORKS" if marked else "needs the mark frameworks"
            report.outcome, report.longrepr = "failed", f"{reason}: but {item.name} {why}"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where backends are named, what does not depend on a backend has run elsewhere."""
    emulated = "cuda-emulated" in normdrop.backends()
    reason = "needs a build with NORMDROP_CUDA_EMULATION=ON"
    for item in items:
        if item.get_closest_marker("emulated_device") and not emulated:
            item.add_marker(pytest.mark.skip(reason=reason))
    named = os.environ.get("NORMDROP_TEST_BACKENDS", "")
    frameworks = chosen_frameworks()
    for name in frameworks:
        if importlib.util.find_spec(name) is None:
            raise pytest.UsageError(
                f"NORMDROP_TEST_FRAMEWORKS must name installed packages, got {name!r}"
            )
    with_device = "cuda-emulated" in named.split(",")

    def belongs(item: pytest.Item) -> bool:
        if frameworks and item.get_closest_marker("frameworks") is None:
            return False
        return (
            not named
            or not {"backend", "cpu_backend"}.isdisjoint(getattr(item, "fixturenames", ()))
            or (with_device and item.get_closest_marker("emulated_device") is not None)
        )

    config.hook.pytest_deselected(items=[item for item in items if not belongs(item)])
    items[:] = [item for item in items if belongs(item)]


def pytest_collection_finish() -> None:
    """Tests that collect garbage need not look through the thousands of tests each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def announce(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Say on the terminal what takes minutes, before it does; else it would be captured."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capturing = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def tell(text: str) -> None:
        if reporter is None or capturing is None:
            return
        with capturing.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(text)
            reporter.flush()

    return tell


@pytest.fixture(params=chosen_backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run under one backend."""
    with normdrop.use_backend(request.param):
        yield request.param


@pytest.fixture(params=[name for name in chosen_backends() if not is_device(name)])
def cpu_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run under one backend of the CPU: of what the caller's threads could change."""
    with normdrop.use_backend(request.param):
        yield request.param


@pytest.fixture(params=DTYPES, ids=[dtype.__name__ for dtype in DTYPES])
def dtype(request: pytest.FixtureRequest) -> Any:
    """The dtypes of arrays."""
    return request.param


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """``set_num_threads`` that is undone after the test."""
    before = normdrop.get_num_threads()
    yield normdrop.set_num_threads
    normdrop.set_num_threads(before)


@pytest.fixture
def unchanged() -> Iterator[Callable[..., None]]:
    """Remember arrays; after the test every one of them must hold the same bytes (H3)."""
    kept: list[tuple[np.ndarray[Any, Any], bytes]] = []

    def remember(*arrays: np.ndarray[Any, Any] | None) -> None:
        kept.extend((a, a.tobytes()) for a in arrays if a is not None)

    yield remember
    for array, before in kept:
        assert array.tobytes() == before, "an input was written to"
