"""Fixtures: every test that takes ``backend`` runs once under each backend of this machine.

``NORMDROP_TEST_BACKENDS=cuda-emulated`` (names with commas between) runs those tests, and no
others, under the backends it names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
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

from cases import DTYPES

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where backends are named, what does not depend on a backend has run elsewhere."""
    emulated = "cuda-emulated" in normdrop.backends()
    reason = "needs a build with NORMDROP_CUDA_EMULATION=ON"
    for item in items:
        if item.get_closest_marker("emulated_device") and not emulated:
            item.add_marker(pytest.mark.skip(reason=reason))
    named = os.environ.get("NORMDROP_TEST_BACKENDS", "")
    if not named:
        return
    with_device = "cuda-emulated" in named.split(",")

    def belongs(item: pytest.Item) -> bool:
        return "backend" in getattr(item, "fixturenames", ()) or (
            with_device and item.get_closest_marker("emulated_device") is not None
        )

    config.hook.pytest_deselected(items=[item for item in items if not belongs(item)])
    items[:] = [item for item in items if belongs(item)]


@pytest.fixture(params=chosen_backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run under one backend."""
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
