"""Fixtures: every test that takes ``backend`` runs once under each backend of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

import normdrop

sys.path.insert(
    0, str(Path(__file__).parent)
)  # cases, oracles and tolerances, however pytest imports

from cases import DTYPES

hypothesis.settings.register_profile(
    "fixed", derandomize=True, deadline=None, max_examples=60, database=None
)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(params=normdrop.backends())
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
