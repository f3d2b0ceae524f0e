"""The bits of every operation are those of the table; a change of them is a line of a diff."""

from __future__ import annotations

import json

import numpy as np
import pytest

import normdrop as nd
from digests import TABLE, digest, digests, kind_of, numbers

EXPECTED = ["0x1.4469eef600000p+0", "0x1.df305bf000000p+0", "0x1.41f5b3c800000p+0"]
CPU_BACKENDS = [name for name in nd.backends() if not name.startswith("cuda")]


@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_bits_are_those_of_the_table(name):
    """AVX2, AVX-512 and whatever else has a fused multiply-add must give the same ones."""
    known = {
        case: kinds.get(kind_of(name)) for case, kinds in json.loads(TABLE.read_text()).items()
    }
    with nd.use_backend(name):
        found = dict(digests())
    changed = [case for case in found if found[case] != known.get(case)]
    assert not changed, (
        f"{len(changed)} of {len(found)} results have other bits, the first: {changed[:5]}; "
        "if that is meant, run tests/digests.py and say so in CHANGELOG.md"
    )
    assert found.keys() == known.keys()


def test_a_digest_sees_the_last_bit():
    x = numbers((5, 7), np.float32, 1)
    before = digest((x, x))
    x[4, 6] = np.nextafter(x[4, 6], np.float32(9))
    assert digest((x, x)) != before


def test_numbers_are_those_of_every_machine():
    """Made of integers, so that no library's logarithm or version moves them."""
    x = numbers((3,), np.float64, 1)
    assert [value.hex() for value in x.tolist()] == EXPECTED
    many = numbers((100_000,), np.float64, 1)
    assert abs(many.mean()) < 0.01 and 1.1 < many.std() < 1.2
