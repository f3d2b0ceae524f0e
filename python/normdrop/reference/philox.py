"""Philox4x32-10: four random 32-bit words from a 128-bit counter and a 64-bit key.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Axes = int | tuple[int, ...]
Words = npt.NDArray[np.uint32]

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox4x32(counter: npt.ArrayLike, key: npt.ArrayLike, *, rounds: int = 10) -> Words:
    """One block per counter.

    Parameters
    ----------
    counter : array_like of 32-bit words, shape (..., 4)
    key : array_like of 32-bit words, shape (..., 2)
        Broadcasts against the counters.
    rounds : int
        10 in everything this package does; 7 has published answers too.

    Returns
    -------
    ndarray of uint32, shape (..., 4)
    """
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, np.uint64), -1, 0)
    for _ in range(rounds):
        product_0, product_1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1 = (product_1 >> HALF) ^ c1 ^ k0, product_1 & LOW
        c2, c3 = (product_0 >> HALF) ^ c3 ^ k1, product_0 & LOW
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def words_by_index(seed: int, call: int, first: int, count: int) -> Words:
    """Draw the words of elements first .. first + count - 1 of one call.

    Element i takes word ``i % 4`` of the block whose counter is (i // 4, call), each of them 64
    bits, low word first, under the key ``seed``.
    """
    lead = first % 4
    block = np.arange((lead + count + 3) // 4, dtype=np.uint64) + np.uint64(first // 4)
    low_call, high_call = np.uint64(call & 0xFFFFFFFF), np.uint64(call >> 32)
    words = np.broadcast_arrays(block & LOW, block >> HALF, low_call, high_call)
    blocks = philox4x32(np.stack(words, axis=-1), [seed & 0xFFFFFFFF, seed >> 32])
    return blocks.reshape(-1)[lead : lead + count]


def words_of(seed: int, call: int, shape: tuple[int, ...], shared_axes: Axes = ()) -> Words:
    """Draw the word of every element of an array.

    An element's word is that of its index in C order, in the shape in which the shared axes have
    size 1.
    """
    drawn = drawn_shape(shape, shared_axes)
    words = words_by_index(seed, call, 0, math.prod(drawn)).reshape(drawn)
    return np.broadcast_to(words, shape)


def drawn_shape(shape: tuple[int, ...], shared_axes: Axes = ()) -> tuple[int, ...]:
    """Return the shape in which the shared axes have size 1."""
    named = shared_axes if isinstance(shared_axes, tuple) else (shared_axes,)
    shared = {axis % len(shape) for axis in named}
    return tuple(min(size, 1) if i in shared else size for i, size in enumerate(shape))
