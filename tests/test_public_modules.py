"""``normdrop.layers`` and ``normdrop.reference`` are there without an import of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

import normdrop as nd


def fresh(program: str) -> str:
    """Run a program in a process that has imported nothing yet; return what it prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["layers", "reference"])
def test_a_module_is_imported_when_it_is_used_and_not_before(name):
    listed = f"[m for m in sys.modules if m.startswith('normdrop.{name}')]"
    assert fresh(f"import sys, normdrop; dir(normdrop); print({listed})") == "[]"
    used = f"import sys, normdrop as nd; print(nd.{name}.__name__, nd.{name} is nd.{name})"
    assert fresh(used) == f"normdrop.{name} True"
    assert fresh(f"import normdrop; print({name!r} in dir(normdrop))") == "True"


def test_the_modules_are_those_of_an_import():
    from normdrop import layers, reference

    assert nd.layers is layers and nd.reference is reference
    assert nd.layers.BatchNorm(3).num_features == 3


def test_dir_lists_what_is_public():
    assert {*nd.__all__, "layers", "reference"} <= set(dir(nd))


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="module 'normdrop' has no attribute 'layer'"):
        _ = nd.layer
    assert not hasattr(nd, "nothing")
