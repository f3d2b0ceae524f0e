"""Wrong numbers, flags, axes and names: the value, the exception, and words of its message."""

from __future__ import annotations

from typing import Any

import numpy as np

import normdrop as nd

SHAPE = (5, 7, 11)  # of x, and (5, 6, 11) in 3 groups

Wrong = tuple[Any, type[Exception], tuple[str, ...]]

NO_FLAGS: list[Wrong] = [
    (1, TypeError, ("got int",)),
    (None, TypeError, ("got NoneType",)),
    (np.zeros(7, np.float32), TypeError, ("got numpy.ndarray",)),
    ("yes", TypeError, ("got str",)),
]

# By the role that a description gives an argument.
OF_ROLE: dict[str, list[Wrong]] = {
    "epsilon": [
        (-1e-5, ValueError, ("got -1e-05",)),
        (float("nan"), ValueError, ("got nan",)),
        (-float("inf"), ValueError, ("got -inf",)),
        ("1e-5", TypeError, ("real", "got str")),
        (None, TypeError, ("real", "got NoneType")),
        ([1e-5], TypeError, ("real", "got list")),
        (1e-5 + 0j, TypeError, ("real", "got complex")),
        (True, TypeError, ("real", "got bool")),
    ],
    "axes": [
        (3, ValueError, ("got 3",)),
        (-4, ValueError, ("got -4",)),
        (2**70, ValueError, ("got",)),
        ((), ValueError, ("got ()",)),
        ((1, 1), ValueError, ("once", "got (1, 1)")),
        ((1, -2), ValueError, ("once", "got (1, -2)")),
        ((0, 2), ValueError, ("neighbouring", "got (0, 2)")),
        ((2, 3), ValueError, ("got 3",)),
        (1.0, TypeError, ("integer", "got float")),
        ((1.0,), TypeError, ("integer", "got float")),
        ("1", TypeError, ("integer", "got str")),
        (None, TypeError, ("integer", "got NoneType")),
        ([1], TypeError, ("integer", "got list")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "channel_axis": [
        (3, ValueError, ("got 3",)),
        (-4, ValueError, ("got -4",)),
        (1.0, TypeError, ("integer", "got float")),
        ((1,), TypeError, ("integer", "got tuple")),
        (None, TypeError, ("integer", "got NoneType")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "flag": NO_FLAGS,
    "wanted": NO_FLAGS,
    "number_of_groups": [
        (4, ValueError, ("divide", "got 4")),
        (0, ValueError, ("divide", "got 0")),
        (-3, ValueError, ("divide", "got -3")),
        (12, ValueError, ("divide", "got 12")),
        (3.0, TypeError, ("integer", "got float")),
        ("3", TypeError, ("integer", "got str")),
        (None, TypeError, ("integer", "got NoneType")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "count_of_statistics": [
        (-1, ValueError, ("got -1",)),
        (1.5, TypeError, ("integer", "got float")),
        ("7", TypeError, ("integer", "got str")),
        (None, TypeError, ("integer", "got NoneType")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "probability": [
        (-0.1, ValueError, ("got -0.1",)),
        (1.1, ValueError, ("got 1.1",)),
        (float("nan"), ValueError, ("got nan",)),
        ("0.5", TypeError, ("real", "got str")),
        (None, TypeError, ("real", "got NoneType")),
        (0.5j, TypeError, ("real", "got complex")),
        (True, TypeError, ("real", "got bool")),
    ],
    "random_source": [
        (-1, ValueError, ("got -1",)),
        (2**64, ValueError, ("got 18446744073709551616",)),
        ((1,), ValueError, ("pair", "got")),
        ((1, 2, 3), ValueError, ("pair", "got")),
        ((1, -2), ValueError, ("got -2",)),
        ((2**64, 0), ValueError, ("got 18446744073709551616",)),
        ((1.0, 2), TypeError, ("got float",)),
        (1.5, TypeError, ("got float",)),
        ("seed", TypeError, ("got str",)),
        (True, TypeError, ("got bool",)),
        (np.random.RandomState(0), TypeError, ("got", "RandomState")),
    ],
    "shared_axes": [
        (3, ValueError, ("from -3 to 2", "3 axes", "got 3")),
        ((0, -4), ValueError, ("from -3 to 2", "got -4")),
        ((2**70,), ValueError, ("got",)),
        ((1, 1), ValueError, ("once", "got (1, 1)")),
        ((1, -2), ValueError, ("once", "got (1, -2)")),
        (1.0, TypeError, ("integer", "got float")),
        ((1.0,), TypeError, ("integer", "got float")),
        ("1", TypeError, ("integer", "got str")),
        (None, TypeError, ("integer", "got NoneType")),
        ([1], TypeError, ("integer", "got list")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "mask": [
        (None, TypeError, ("DropoutMask", "got NoneType")),
        (np.ones(SHAPE, bool), TypeError, ("DropoutMask", "got")),
    ],
}

# By the name of an argument of functions that are not described.
OF_NAME: dict[str, list[Wrong]] = {
    "p": OF_ROLE["probability"],
    "beta": OF_ROLE["probability"],
    "shared_axes": OF_ROLE["shared_axes"],
    "eps": OF_ROLE["epsilon"],
    "seed": [
        (-1, ValueError, ("got -1",)),
        (2**64, ValueError, ("got",)),
        (1.0, TypeError, ("got float",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "shape": [
        ((-1, 3), ValueError, ("got (-1, 3)",)),
        ("ab", TypeError, ("got str",)),
        ((1.5,), TypeError, ("got",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "momentum": [
        (-0.1, ValueError, ("got -0.1",)),
        (1.1, ValueError, ("got 1.1",)),
        (float("nan"), ValueError, ("got nan",)),
        ("0.1", TypeError, ("got str",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "correction": [
        (2, ValueError, ("got 2",)),
        (-1, ValueError, ("got -1",)),
        (0.5, TypeError, ("got float",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "name": [
        ("nope", ValueError, ("baseline", "got 'nope'")),
        ("", ValueError, ("baseline", "got ''")),
        *(
            (known, RuntimeError, (known, "baseline"))
            for known in ("cuda", "cuda-emulated")
            if known not in nd.backends()
        ),
        (3, TypeError, ("got int",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "n": [
        (0, ValueError, ("got 0",)),
        (-1, ValueError, ("got -1",)),
        (1.5, TypeError, ("got float",)),
        (None, TypeError, ("got NoneType",)),
        (True, TypeError, ("got bool",)),
    ],
    "bytes": [
        (-1, ValueError, ("got -1",)),
        (1.5, TypeError, ("got float",)),
        ("1", TypeError, ("got str",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "mode": [("json", ValueError, ("stdout", "dict", "got 'json'"))],
}
OF_NAME["call"] = OF_NAME["seed"]
