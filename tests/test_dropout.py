"""Dropout bit by bit: the generator's published answers, the mask, the scale and the edges."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import normal
from comparing import assert_same_bits
from normdrop import _core, reference
from normdrop.layers import Dropout
from tolerances import KEEP_RATE_DEVIATIONS

pytestmark = pytest.mark.usefixtures("backend")


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


# The generator -----------------------------------------------------------------------------------

# Random123's tests/kat_vectors: counter, key, ten rounds, seven rounds.
PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8", "5f6fb709 0d893f64 4f121f81 4f730a48"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd", "5207ddc2 45165e59 4d8ee751 8c52f662"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1", "4dfccaba 190a87f0 c47362ba b6b5242a"),
]  # fmt: skip

# Carries between the words of the counter, under the key deadbeef 12345678.
CARRIES = [
    ("ffffffff 00000000 00000000 00000000", "7d1f4a7e 0eb306d0 0e9ed5b3 6363d841"),
    ("00000000 00000001 00000000 00000000", "c808fa82 8adec387 10416458 2209d140"),
    ("ffffffff ffffffff 00000000 00000000", "a8268906 6bd0303d 0f855f89 52058099"),
    ("00000000 00000000 00000001 00000000", "ddee8d15 dd4c8236 dd782a7a c54308a9"),
    ("00000001 00000000 00000000 00000000", "eb24d1e9 57890589 4c52e006 94d7f26b"),
    ("00000002 00000000 00000000 00000000", "713d692f e4c3e53b ce8a70e1 4a238284"),
]


@pytest.mark.parametrize(("counter", "key", "ten", "seven"), PUBLISHED)
def test_published_answers(counter, key, ten, seven):
    assert reference.philox4x32(words(counter), words(key)).tolist() == words(ten)
    assert reference.philox4x32(words(counter), words(key), rounds=7).tolist() == words(seven)


@pytest.mark.parametrize(("counter", "expected"), CARRIES)
def test_carries(counter, expected):
    key = words("deadbeef 12345678")
    assert reference.philox4x32(words(counter), key).tolist() == words(expected)


def test_published_answers_are_many_counters_at_once():
    counters = [words(row[0]) for row in PUBLISHED]
    keys = [words(row[1]) for row in PUBLISHED]
    expected = [words(row[2]) for row in PUBLISHED]
    assert reference.philox4x32(counters, keys).tolist() == expected


def test_index_beyond_32_bits_reaches_the_second_counter_word():
    """A truncated index repeats the mask (J15, C12)."""
    seed = 0x12345678_DEADBEEF
    at_carry = reference.words_by_index(seed, 0, 4 * 0xFFFFFFFF, 8)
    assert at_carry.tolist() == words(CARRIES[0][1]) + words(CARRIES[1][1])
    for first in (2**31, 2**32, 2**34, 2**40):
        assert not np.array_equal(
            reference.words_by_index(seed, 0, first, 64), reference.words_by_index(seed, 0, 0, 64)
        )


def kernel_words(seed: int, call: int, count: int) -> np.ndarray:
    """The kernels' own words, bit by bit: element i is kept at p iff word < threshold(p)."""
    low = np.zeros(count, np.uint64)
    for bit in reversed(range(32)):
        middle = low + np.uint64(1 << bit)  # is the word at least this?
        for threshold in np.unique(middle):
            keep = nd.DropoutMask(seed, call, 1.0 - int(threshold) / 2**32, (count,)).keep
            low = np.where((middle == threshold) & ~keep, middle, low)
    return low.astype(np.uint32)


@pytest.mark.parametrize(
    ("seed", "call", "expected"),
    [
        (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (0x12345678_DEADBEEF, 1, "ddee8d15 dd4c8236 dd782a7a c54308a9"),
    ],
)
def test_kernel_words_are_the_published_ones(seed, call, expected):
    """Found by bisection on p, so that the compiled generator itself is asked."""
    assert kernel_words(seed, call, 4).tolist() == words(expected)


def test_kernel_words_of_the_second_and_third_block():
    expected = words(CARRIES[4][1]) + words(CARRIES[5][1])
    assert kernel_words(0x12345678_DEADBEEF, 0, 12)[4:].tolist() == expected


# The mask ----------------------------------------------------------------------------------------


SEEDS = [(0, 0), (1, 0), (2**32, 0), (2**64 - 1, 2**64 - 1), (7, 2**32), (3, 1)]


@pytest.mark.parametrize(("seed", "call"), SEEDS)
@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 0.5, 0.75, 0.999, 1.0])
def test_mask_and_output_are_the_definition_bit_by_bit(seed, call, p, dtype, unchanged):
    """Every bit of seed and call counts, the high words too."""
    for shape in ((1,), (3,), (4,), (129,), (7, 11, 13), (1021,)):
        x = normal(shape, dtype, "x")
        unchanged(x)
        y, mask = nd.dropout_forward(x, p, rng=(seed, call))
        expected, expected_mask = reference.dropout_forward(x, p, rng=(seed, call))
        assert_same_bits(y, expected)
        assert_same_bits(mask.keep, expected_mask.keep)
        assert_same_bits(mask.packed(), expected_mask.packed())
        assert mask.scale == expected_mask.scale


def test_every_length_around_the_vector_widths(dtype):
    whole = reference.keep_mask(5, 6, 0.3, (1100,))
    for count in [*range(1, 131), 255, 256, 257, 1023, 1025]:
        x = normal((count,), dtype, "x")
        y, mask = nd.dropout_forward(x, 0.3, rng=(5, 6))
        assert_same_bits(mask.keep, whole[:count])
        assert_same_bits(y, reference.dropout(x, 0.3, rng=(5, 6)))


def test_large_array_whatever_the_threads(threads):
    """Masks that depend on the chunk or the thread (J12, J14)."""
    x = normal((1_000_003,), np.float32, "x")
    expected = reference.dropout(x, 0.25, rng=(5, 6))
    for count in (1, 2, 3, 7):
        threads(count)
        assert_same_bits(nd.dropout(x, 0.25, rng=(5, 6)), expected)


# crc32 of the packed mask; these numbers change only if the definition does.
GOLDEN = [
    ((0, 0), 0.5, (64,), 0xB4A36CF8),
    ((42, 0), 0.1, (1000,), 0x7A2B53E4),
    ((2**64 - 1, 2**40), 0.9, (37, 41), 0x6C21D1C3),
]


@pytest.mark.parametrize("order", ["C", "F"])
def test_mask_goes_by_logical_index_not_by_memory(order):
    """A mask by address permutes values of transposed arrays (D8, J25)."""
    x = np.array(normal((5, 7, 11), np.float32, "x"), order=order)
    y, mask = nd.dropout_forward(x, 0.5, rng=3)
    assert_same_bits(mask.keep, reference.keep_mask(3, 0, 0.5, (5, 7, 11)))
    assert_same_bits(y.copy(), np.where(mask.keep, x * np.float32(2), np.float32(0)))


def test_broadcast_elements_are_dropped_one_by_one():
    """One draw per element, not per address (J25)."""
    x = np.broadcast_to(np.float32(1.0), (37, 41))
    y = nd.dropout(x, 0.5, rng=3)
    assert_same_bits(y == 2.0, reference.keep_mask(3, 0, 0.5, (37, 41)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_backward_has_the_mask_of_the_forward(p, dtype):
    """Also where x is 0: a mask guessed from the output is wrong there (J17)."""
    x, grad = normal((37, 41), dtype, "x"), normal((37, 41), dtype, "grad")
    x[::3] = 0.0
    y, mask = nd.dropout_forward(x, p, rng=(8, 9))
    got = nd.dropout_backward(grad, mask)
    assert_same_bits(got, reference.dropout(grad, p, rng=(8, 9)))
    assert_same_bits(got != 0, mask.keep)
    scaled = (x * reference.scale_in(p, dtype)).astype(dtype)
    assert_same_bits(y, np.where(mask.keep, scaled, dtype(0)))


@pytest.mark.parametrize("p", [0.1, 0.15, 0.5, 0.9, 0.999])
def test_keep_rate_and_mean(p):
    """Eight-bit draws quantise p and bias E[y] by parts in a thousand (J16)."""
    count = 2_000_003
    y, mask = nd.dropout_forward(np.ones(count, np.float32), p, rng=(1, 2))
    deviation = np.sqrt(p * (1 - p) / count)
    assert abs(mask.keep.mean() - (1 - p)) < KEEP_RATE_DEVIATIONS * deviation
    mean = y.mean(dtype=np.float64)
    assert abs(mean - 1) < KEEP_RATE_DEVIATIONS * deviation / (1 - p)


def test_threshold_and_scale_come_from_the_same_number():
    """A scale of the nominal p, or of a quantised one, biases E[y]."""
    for p in (0.1, 1e-9, 1 - 1e-9, 1 / 3, 2.0**-33, 2.0**-34, 1 - 2.0**-33):
        threshold = reference.keep_threshold(p)
        mask = nd.DropoutMask(1, 2, p, (5,))
        assert mask.scale == (2.0**32 / threshold if threshold else 0.0)


def thresholds_at(word: int) -> tuple[float, float]:
    """p for which a word is the threshold itself, and p for which it is the one below."""
    return 1 - word / 2**32, 1 - (word + 1) / 2**32


def test_a_word_equal_to_the_threshold_is_dropped(dtype):
    """Kept below the threshold, not at it, in whole vectors and behind them."""
    count = 2 * 256 + 39  # words are made 256 at once
    x = np.ones(count, dtype)
    for i, word in enumerate(reference.words_by_index(3, 4, 0, count).tolist()):
        at, above = (nd.dropout(x, p, rng=(3, 4))[i] for p in thresholds_at(word))
        assert at == 0 and above != 0, i
        at, above = (nd.DropoutMask(3, 4, p, (count,)).keep[i] for p in thresholds_at(word))
        assert not at and above, i


@pytest.mark.parametrize("shift", [0, 1])
def test_a_threshold_is_exact_where_outputs_are_streamed(shift, dtype):
    """Outputs of many megabytes are written past the caches, by loops of their own."""
    count = 2**24 // np.dtype(dtype).itemsize
    x, out = np.ones(count + shift, dtype)[shift:], np.empty(count + shift, dtype)[shift:]
    for i in (0, 17, 16384, count // 2 + 5, count - 1):
        word = int(reference.words_by_index(3, 4, i, 1)[0])
        at, above = (nd.dropout(x, p, rng=(3, 4), out=out)[i] for p in thresholds_at(word))
        assert at == 0 and above != 0, i


def test_counters_carry_wherever_a_call_begins():
    """Blocks are made 64 at once; the high counter word changes between any two of them."""
    blocks, before = 64, 70
    carry = 4 * 2**32
    words = reference.words_by_index(11, 12, carry - 4 * before, 4 * (before + 3 * blocks))
    for threshold in (2**30, 2**31, 3 * 2**30):
        expected = (words < threshold).astype(np.uint8)
        for back in range(4 * before):
            first, count = carry - back, back + 4 * blocks
            got = _core.dropout_keep(11, 12, threshold, first, count)
            assert_same_bits(
                got, expected[-back - 12 * blocks :][:count], f"{back} elements before"
            )


@pytest.mark.parametrize("threshold", [3490065938, 4026531855, 1745032969, 939524103, 1614112203])
def test_scale_is_rounded_once(threshold):
    """For these, rounding 2**32 / threshold to double first gives another float32."""
    p = 1 - threshold / 2**32
    assert np.float32(2**32 / threshold) != reference.scale_in(p, np.float32)
    x = np.ones(103, np.float32)
    y, mask = nd.dropout_forward(x, p, rng=3)
    assert set(y[mask.keep].tolist()) == {float(reference.scale_in(p, np.float32))}
    assert_same_bits(nd.dropout_backward(x, mask), y)


def test_lanes_and_neighbours_are_independent():
    """A lane that is used twice, or a call whose stream overlaps the next (J1, J5, J9)."""
    count = 65536
    bits = [
        nd.dropout_forward(np.ones(count, np.float32), 0.5, rng=(4, call))[1].keep * 2.0 - 1
        for call in range(4)
    ]
    spectra = [np.fft.rfft(b) for b in bits]
    for i, left in enumerate(spectra):
        for j, right in enumerate(spectra[i:], start=i):
            correlation = np.fft.irfft(left * right.conj()) / np.sqrt(count)
            if i == j:
                correlation[0] = 0.0
            assert np.abs(correlation).max() < 6.0
    for lane in range(4):
        assert abs(bits[0][lane::4].mean()) < KEEP_RATE_DEVIATIONS / np.sqrt(count / 4)


# rng ---------------------------------------------------------------------------------------------


def test_ways_to_say_rng():
    x = normal((101,), np.float32, "x")
    by_int, int_mask = nd.dropout_forward(x, 0.5, rng=7)
    by_pair, pair_mask = nd.dropout_forward(x, 0.5, rng=(7, 0))
    assert_same_bits(by_int, by_pair)
    assert (int_mask.seed, int_mask.call) == (7, 0) == (pair_mask.seed, pair_mask.call)
    assert_same_bits(nd.dropout(x, 0.5, rng=np.int64(7)), by_int)
    assert_same_bits(nd.dropout(x, 0.5, rng=np.uint64(7)), by_int)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_generator_gives_one_64_bit_draw_whatever_p_is(p):
    x = normal((101,), np.float32, "x")
    ours, theirs = np.random.default_rng(5), np.random.default_rng(5)
    _, mask = nd.dropout_forward(x, p, rng=ours)
    assert (mask.seed, mask.call) == (int(theirs.integers(0, 2**64, dtype=np.uint64)), 0)
    assert ours.integers(0, 2**64, dtype=np.uint64) == theirs.integers(0, 2**64, dtype=np.uint64)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox, np.random.MT19937])
def test_bit_generator_is_the_generator_around_it(kind):
    x = normal((101,), np.float32, "x")
    ours, theirs = kind(5), np.random.Generator(kind(5))
    y, mask = nd.dropout_forward(x, 0.5, rng=ours)
    expected, expected_mask = nd.dropout_forward(x, 0.5, rng=theirs)
    assert_same_bits(y, expected)
    assert mask == expected_mask
    assert Dropout(rng=ours).seed == Dropout(rng=theirs).seed, "one draw a call"


def test_seed_sequence_gives_its_first_word():
    x = normal((101,), np.float32, "x")
    sequence = np.random.SeedSequence(5)
    y, mask = nd.dropout_forward(x, 0.5, rng=sequence)
    assert (mask.seed, mask.call) == (int(sequence.generate_state(1, np.uint64)[0]), 0)
    assert_same_bits(nd.dropout(x, 0.5, rng=sequence), y)
    assert Dropout(rng=sequence).seed == mask.seed
    children = [Dropout(rng=child).seed for child in sequence.spawn(2)]
    assert len({*children, mask.seed}) == 3


@pytest.mark.parametrize("function", [nd.dropout, nd.dropout_forward])
def test_what_rng_may_be_stands_in_the_message(function):
    x, name = np.ones(7, np.float32), function.__name__
    kinds = (
        "None, an integer, a pair (seed, call), a numpy.random.Generator, BitGenerator or "
        "SeedSequence"
    )
    for wrong in ("seed", 0.5, [1, 2], np.random.default_rng):
        with pytest.raises(TypeError) as caught:
            function(x, rng=wrong)
        expected = f"{name}: rng must be {kinds}, got {type(wrong).__name__}"
        assert str(caught.value) == expected
    with pytest.raises(TypeError) as caught:
        function(x, rng=np.random.RandomState(0))
    hint = "pass a numpy.random.default_rng(seed) instead"
    assert str(caught.value) == f"{name}: rng must be {kinds}, got RandomState; {hint}"


def test_no_rng_is_fresh_entropy():
    """Two calls differ (J5, J9), whatever NumPy's global state."""
    x = np.ones(257, np.float32)
    seeds = set()
    for _ in range(20):
        np.random.seed(0)  # noqa: NPY002
        _, mask = nd.dropout_forward(x, 0.5)
        seeds.add((mask.seed, mask.call))
    assert len(seeds) == 20


def test_no_global_random_state_is_touched():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    nd.dropout(np.ones(7, np.float32), 0.5)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_same_seed_gives_the_same_mask_after_other_calls():
    """History must not matter (J6, J10)."""
    x = normal((101,), np.float32, "x")
    first = nd.dropout(x, 0.5, rng=(7, 3))
    for _ in range(5):
        nd.dropout(x, 0.5)
    assert_same_bits(nd.dropout(x.copy(), 0.5, rng=(7, 3)), first)
    assert not np.array_equal(nd.dropout(x, 0.5, rng=(7, 4)), first)
    assert not np.array_equal(nd.dropout(x, 0.5, rng=(8, 3)), first)


# Edges -------------------------------------------------------------------------------------------


def test_p_0_is_an_equal_copy_and_never_a_view(dtype):
    """rand < p with a rand of (0, 1] or 0 dropped something at p = 0 (J3, J15)."""
    x = normal((100_003,), dtype, "x")
    x[:3] = np.nan, np.inf, -0.0
    y, mask = nd.dropout_forward(x, 0.0, rng=3)
    assert_same_bits(y, x)
    assert not np.shares_memory(x, y) and mask.keep.all() and mask.scale == 1.0


def test_p_1_is_0_everywhere(dtype):
    """1 / (1 - p) is not finite (J21)."""
    x = normal((1003,), dtype, "x")
    x[:3] = np.nan, np.inf, -np.inf
    y, mask = nd.dropout_forward(x, 1.0, rng=3)
    assert_same_bits(y, np.zeros_like(x))
    assert not mask.keep.any() and mask.scale == 0.0
    assert_same_bits(nd.dropout_backward(x, mask), np.zeros_like(x))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_dropped_nan_and_infinity_are_0(bad, dtype):
    """inf * 0 is NaN: dropping must select, not multiply (J20)."""
    y, mask = nd.dropout_forward(np.full(1003, bad, dtype), 0.5, rng=3)
    assert_same_bits(y, np.where(mask.keep, dtype(bad), dtype(0)))


def test_negative_values_are_dropped_to_plus_0(dtype):
    y, mask = nd.dropout_forward(np.full(1003, -1.0, dtype), 0.5, rng=3)
    assert not np.signbit(y[~mask.keep]).any()


def test_overflow_happens_where_the_exact_product_does(dtype):
    largest = finfo(dtype).max
    y, mask = nd.dropout_forward(np.full(103, largest, dtype), 0.5, rng=3)
    assert np.isinf(y[mask.keep]).all()
    subnormal = finfo(dtype).smallest_subnormal
    y, mask = nd.dropout_forward(np.full(103, subnormal, dtype), 0.5, rng=3)
    assert (y[mask.keep] == 2 * subnormal).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5, 7)])
def test_empty_arrays(shape, dtype):
    """An empty tensor asked for a giant allocation elsewhere (F9)."""
    y, mask = nd.dropout_forward(np.empty(shape, dtype), 0.5, rng=3)
    assert y.shape == mask.keep.shape == shape and y.dtype == dtype
    assert mask.packed().shape == (0,)
    assert nd.dropout_backward(y, mask).shape == shape


def test_zero_dimensional_array(dtype):
    y, mask = nd.dropout_forward(np.array(3.0, dtype), 0.0, rng=3)
    assert y.shape == () and y == 3.0 and mask.keep.shape == ()


def test_out(dtype):
    x = normal((5, 37), dtype, "x")
    expected = nd.dropout(x, 0.5, rng=3)
    for out in (np.full_like(x, np.nan), np.full((5, 74), np.nan, dtype)[:, ::2],
                np.full((37, 5), np.nan, dtype).T):  # fmt: skip
        assert nd.dropout(x, 0.5, rng=3, out=out) is out
        assert_same_bits(out.copy(), expected)
        out[...] = np.nan
        result, mask = nd.dropout_forward(x, 0.5, rng=3, out=out)
        assert result is out
        assert_same_bits(out.copy(), expected)
        out[...] = np.nan
        assert nd.dropout_backward(x, mask, out=out) is out
        assert_same_bits(out.copy(), expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_out_may_be_x_itself(order, dtype):
    x = np.array(normal((5, 37), dtype, "x"), order=order)
    expected, mask = nd.dropout_forward(x, 0.5, rng=3)
    same = x.copy(order="K")
    assert nd.dropout(same, 0.5, rng=3, out=same) is same
    assert_same_bits(same, expected)
    same = x.copy(order="K")
    assert nd.dropout_backward(same, mask, out=same) is same
    assert_same_bits(same, expected)


def test_perturbed_masks_are_rejected():
    """One bit too many, or a call number mistaken, must be seen (H4)."""
    x = np.ones(1003, np.float32)
    y = nd.dropout(x, 0.5, rng=(3, 1))
    wrong = y.copy()
    wrong[777] = 2.0 - wrong[777]
    for other in (wrong, nd.dropout(x, 0.5, rng=(3, 2)), np.roll(y, 4)):
        with pytest.raises(AssertionError):
            assert_same_bits(other, reference.dropout(x, 0.5, rng=(3, 1)))


@pytest.mark.parametrize(("rng", "p", "shape", "checksum"), GOLDEN)
def test_golden_masks(rng, p, shape, checksum):
    """Masks belong to the public promise: stored seeds must mean the same for ever."""
    _, mask = nd.dropout_forward(np.ones(shape, np.float32), p, rng=rng)
    assert zlib.crc32(mask.packed().tobytes()) == checksum
