"""Arrays on a device: how they come in, are ordered, checked and given back.

The device is the emulated one, whose memory is the host's, so that a fake library can stand for
the real ones (``fake_device``). Results must have the bits of the same backend on NumPy arrays.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits
from fake_device import (
    ByBoth,
    ByDlpack,
    ByInterface,
    Memory,
    capsule_name,
    exchanging,
    fake_cupy,
    fake_jax,
    fake_torch,
    offer,
)
from good_calls import Case, Geometry, cases, get, put, with_changed
from normdrop import _core
from tolerances import HANG_SECONDS, RUNNING_UNITS

EMULATED = "cuda-emulated"
pytestmark = pytest.mark.emulated_device
SHAPE = (5, 7, 11)
KINDS = {"dlpack": ByDlpack, "interface": ByInterface, "both": ByBoth}
WAYS = [*KINDS, "exchange"]


@pytest.fixture(autouse=True)
def on_the_emulated_device() -> Iterator[None]:
    with nd.use_backend(EMULATED):
        yield


def x_and_parameters(dtype: Any = np.float32) -> tuple[np.ndarray, ...]:
    return normal(SHAPE, dtype, "x"), parameter((11,), dtype, "w"), parameter((11,), dtype, "b")


def give(array: np.ndarray, way: str = "dlpack", **knobs: Any) -> Any:
    return offer(array, exchanging() if way == "exchange" else KINDS[way], **knobs)


def on_host(value: Any) -> Any:
    """Results as NumPy arrays, whatever they are."""
    if isinstance(value, tuple):
        return tuple(on_host(item) for item in value)
    return value.to_numpy() if isinstance(value, nd.DeviceArray) else value


# Results -----------------------------------------------------------------------------------------


GEOMETRIES: dict[str, list[Geometry]] = {
    "over_axes": [(SHAPE, -1), (SHAPE, 1)],
    "per_channel": [(SHAPE, 1)],
    "channel_groups": [((5, 6, 11), 1, 3)],
    "elements": [(SHAPE,)],
}
CASES = cases(GEOMETRIES, short=True)
WITH_OUT = [case for case in CASES if case.function.out]


def given(case: Case, arguments: dict[str, Any], way: str, **knobs: Any) -> dict[str, Any]:
    """The arguments with every array on the device."""
    changed = dict(arguments)
    for name in case.function.arrays():
        put(changed, name, give(get(arguments, name), way, **knobs))
    return changed


def results(case: Case, arguments: dict[str, Any], **out: Any) -> list[Any]:
    returned = case.function.call(**arguments, **out)
    return [one.array for one in case.function.results(returned, arguments)]


def assert_same_results(got: list[Any], expected: list[Any], where: str = "") -> None:
    """Device arrays with the bits, the memory order and the dtype of NumPy's."""
    for left, right in zip(got, expected, strict=True):
        assert type(left) is (nd.DeviceArray if type(right) is np.ndarray else int)
        assert_same_bits(on_host(left), right, where)
        if np.size(right):
            assert getattr(left, "strides", None) == getattr(right, "strides", None), where


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_way_in_gives_the_bits_of_numpy_arrays(case, way, dtype):
    arguments = case.arguments(dtype)
    assert_same_results(results(case, given(case, arguments, way)), results(case, arguments))


def test_bfloat16_by_dlpack():
    x, w, _ = x_and_parameters()
    half = x.astype(ml_dtypes.bfloat16)
    y = nd.layer_norm(offer(half), offer(w))
    assert y.dtype == ml_dtypes.bfloat16
    assert_same_bits(y.to_numpy().view(np.uint16), nd.layer_norm(half, w).view(np.uint16))


def test_running_statistics():
    x, grad = normal(SHAPE, np.float32, "x"), normal(SHAPE, np.float32, "grad")
    _, stats = nd.batch_norm_forward(x)
    _, dstats = nd.batch_norm_forward(offer(x))
    mean, var = np.zeros(7, np.float32), np.ones(14, np.float64)[::2]
    dmean, dvar = offer(mean.copy()), offer(np.ones(14, np.float64)[::2])
    nd.update_running_stats(mean, var, stats)
    nd.update_running_stats(dmean, dvar, dstats)
    assert_same_bits((dmean.numpy(), dvar.numpy()), (mean, var))
    frozen = nd.BatchStats.from_running(dmean, dvar, 1e-3)
    expected = nd.BatchStats.from_running(mean, var, 1e-3)
    assert_same_bits(on_host(tuple(frozen)[:2]), tuple(expected)[:2])
    inv_std = frozen.inv_std.to_numpy()
    np.testing.assert_array_almost_equal_nulp(inv_std, expected.inv_std, RUNNING_UNITS)
    got = nd.batch_norm_backward(offer(grad), offer(x), frozen, frozen=True)
    assert got.weight is None and got.bias.shape == (7,)


@pytest.mark.parametrize("way", WAYS)
def test_halves_of_batch_norm(way):
    """Statistics of parts are merged, and sums of parts added, where x lies."""
    x, grad = normal(SHAPE, np.float32, "x"), normal(SHAPE, np.float32, "grad")
    arrays = list(zip(np.split(x, [2]), np.split(grad, [2]), strict=True))
    offered = [tuple(give(array, way) for array in pair) for pair in arrays]
    parts = [nd.batch_stats(part) for part, _ in arrays]
    dparts = [nd.batch_stats(part) for part, _ in offered]
    stats, dstats = nd.BatchStats.merged(parts), nd.BatchStats.merged(dparts)
    assert type(dstats.mean) is type(dparts[0].mean)
    assert_same_bits(on_host(tuple(dstats)[:3]), tuple(stats)[:3])
    assert dstats.count == stats.count
    sums, dsums = (
        sum(nd.batch_norm_gradient_sums(g, part, s) for part, g in pairs)
        for pairs, s in ((arrays, stats), (offered, dstats))
    )
    assert_same_bits(on_host((dsums.grad, dsums.grad_x_hat)), (sums.grad, sums.grad_x_hat))
    for (part, g), (dpart, dg) in zip(arrays, offered, strict=True):
        y, dy = nd.batch_norm_apply(part, stats), nd.batch_norm_apply(dpart, dstats)
        of_x = nd.batch_norm_backward_apply(g, part, stats, sums)
        dof_x = nd.batch_norm_backward_apply(dg, dpart, dstats, dsums)
        assert_same_bits(on_host((dy, dof_x)), (y, of_x))
    assert pickle.loads(pickle.dumps(dsums)) == copy.deepcopy(dsums) == dsums
    for wrong in ([parts[0], dparts[1]], [dparts[0], parts[1]]):
        with pytest.raises(TypeError, match=r"BatchStats\.merged: parts\[1\]\.mean must be a"):
            nd.BatchStats.merged(wrong)


def test_dropout_and_its_mask():
    x, grad = normal(SHAPE, np.float32, "x"), normal(SHAPE, np.float32, "grad")
    y, mask = nd.dropout_forward(offer(x), 0.3, rng=(2014, 3))
    expected, expected_mask = nd.dropout_forward(x, 0.3, rng=(2014, 3))
    assert mask == expected_mask and isinstance(mask.keep, np.ndarray)
    assert_same_bits(y.to_numpy(), expected)
    assert_same_bits(
        nd.dropout_backward(offer(grad), mask).to_numpy(), nd.dropout_backward(grad, mask)
    )


@pytest.mark.parametrize("way", WAYS)
def test_seed_and_call_that_lie_on_the_device(way):
    x = normal(SHAPE, np.float32, "x")
    draw = give(np.array([2**63 + 5, 2**40 + 1], np.uint64), way)
    y, mask = nd.dropout_forward(offer(x), 0.3, rng=draw)
    expected, plain = nd.dropout_forward(x, 0.3, rng=(2**63 + 5, 2**40 + 1))
    assert_same_bits(y.to_numpy(), expected)
    assert_same_bits(nd.dropout(offer(x), 0.3, rng=draw).to_numpy(), expected)
    assert_same_bits(nd.dropout_backward(offer(x), mask).to_numpy(), expected)
    assert (mask.seed, mask.call, mask.p, mask.shape) == (plain.seed, plain.call, 0.3, SHAPE)
    assert mask == plain and hash(mask) == hash(plain) and repr(mask) == repr(plain)
    assert_same_bits(mask.keep, plain.keep)
    assert pickle.loads(pickle.dumps(mask)) == copy.deepcopy(mask) == plain


@pytest.mark.parametrize(
    "name", ["dropout", "alpha_dropout", "gaussian_dropout", "uniform_dropout"]
)
@pytest.mark.parametrize("axes", [(), (0,), (1, 2)], ids=str)
def test_dropouts_family_with_draws_here_and_there(name, axes):
    plain, forward, backward = (getattr(nd, name + end) for end in ("", "_forward", "_backward"))
    x, numbers = normal(SHAPE, np.float32, "x"), (2**63 + 5, 2**40 + 1)
    draw = offer(np.array(numbers, np.uint64))
    expected, plain_mask = forward(x, 0.3, rng=numbers, shared_axes=axes)
    for rng in (numbers, draw):
        y, mask = forward(offer(x), 0.3, rng=rng, shared_axes=axes)
        assert_same_bits(y.to_numpy(), expected)
        assert_same_bits(plain(offer(x), 0.3, rng=rng, shared_axes=axes).to_numpy(), expected)
        got = backward(offer(x), mask).to_numpy()
        assert_same_bits(got, backward(x, plain_mask))
        assert mask == plain_mask == mask and not mask != plain_mask  # noqa: SIM202
        assert hash(mask) == hash(plain_mask) and repr(mask) == repr(plain_mask)
        assert pickle.loads(pickle.dumps(mask)) == copy.deepcopy(mask) == plain_mask


LAYOUTS = {
    "dense": lambda a: a,
    "Fortran order": np.asfortranarray,
    "gaps between rows": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "a step inside": lambda a: np.repeat(a, 2, 2)[:, :, ::2],
    "reversed": lambda a: a[::-1, :, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", cases(GEOMETRIES), ids=str)
def test_layouts(case, way, layout):
    arguments = case.arguments(np.float32)
    leader = case.function.leader
    put(arguments, leader, LAYOUTS[layout](get(arguments, leader)))
    there = given(case, arguments, way)
    assert_same_results(results(case, there), results(case, arguments), layout)
    for name in case.function.arrays():
        before = np.asarray(get(arguments, name))
        assert_same_bits(get(there, name).numpy(), before, f"{name} was written to")


EMPTY: dict[str, list[Geometry]] = {
    "over_axes": [((0, 11), -1), ((5, 0), -1), ((0, 0), -1)],
    "per_channel": [((5, 0), 1)],
    "channel_groups": [((0, 6), 1, 3), ((5, 6, 0), 1, 3)],
    "elements": [((0, 11),)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", cases(EMPTY, short=True), ids=str)
def test_arrays_without_elements(case, way):
    """Their address is 0 by every protocol."""
    arguments = case.arguments(np.float32)
    assert_same_results(results(case, given(case, arguments, way)), results(case, arguments))


# out= --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
@pytest.mark.parametrize("case", WITH_OUT, ids=str)
def test_out_is_written_and_returned(case, way, layout):
    arguments = case.arguments(np.float32)
    expected = results(case, arguments)
    there = given(case, arguments, way)
    out = give(LAYOUTS[layout](np.full(case.shape, 7.0, np.float32)), way)
    got = results(case, there, out=out)
    assert got[0] is out
    assert_same_bits(out.numpy(), expected[0], layout)
    assert_same_results(got[1:], expected[1:], layout)


@pytest.mark.parametrize("case", WITH_OUT, ids=str)
def test_in_place(case):
    arguments = case.arguments(np.float32)
    there = given(case, arguments, "dlpack")
    own = get(there, case.function.out.may_be)
    assert results(case, there, out=own)[0] is own
    assert_same_bits(own.numpy(), results(case, arguments)[0])


def test_out_may_be_x_and_nothing_that_overlaps_it():
    line = normal((12, 11), np.float32, "line")
    memory = Memory(line)
    whole = ByDlpack(memory)

    def part(rows: slice) -> ByDlpack:
        offset = line[rows].ctypes.data - line.ctypes.data
        return ByDlpack(Memory.shared(memory.own, line[rows], offset))

    with pytest.raises(ValueError, match=r"layer_norm: out must not share memory with x"):
        nd.layer_norm(part(slice(0, 11)), out=part(slice(1, 12)))
    with pytest.raises(ValueError, match=r"layer_norm: out must not share memory with x"):
        nd.layer_norm(part(slice(0, 12)), out=part(slice(None, None, -1)))
    weight = part(slice(3, 4))
    weight.memory.array = line[3]
    with pytest.raises(ValueError, match=r"layer_norm: out must not share memory with weight"):
        nd.layer_norm(offer(line), weight, out=whole)
    assert_same_bits(whole.numpy(), line, "something was written before the check")

    even, odd = part(slice(0, None, 2)), part(slice(1, None, 2))
    assert nd.layer_norm(even, out=odd) is odd  # interleaved, and no element shared
    assert_same_bits(odd.numpy(), nd.layer_norm(line[::2]))
    assert nd.layer_norm(even, out=even) is even
    assert_same_bits(even.numpy(), nd.layer_norm(line[::2]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_read_only_arrays_are_read_and_never_written(case, way):
    arguments = case.arguments(np.float32)
    there = given(case, arguments, way, read_only=True)
    assert_same_results(results(case, there), results(case, arguments))
    if case.function.out:
        out = give(np.zeros(case.shape, np.float32), way, read_only=True)
        text = f"{case.function}: out must be writeable, got a read-only"
        with pytest.raises(ValueError, match=text):
            case.function.call(**there, out=out)
        assert not out.numpy().any()


# The protocols -----------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_capsule_is_taken_renamed_and_deleted_once(old):
    x = offer(normal(SHAPE, np.float32, "x"), old=old)
    nd.layer_norm(x)
    nd.layer_norm(x).to_numpy()
    nd.layer_norm(offer(np.ones((2, 3), np.float32)))  # gives back what earlier calls kept
    used = b"used_dltensor" if old else b"used_dltensor_versioned"
    assert [capsule_name(capsule) for capsule in x.capsules] == [used, used]
    assert x.deleted == 2


@pytest.mark.parametrize("old", [False, True])
def test_a_deleter_may_be_missing(old):
    x = normal(SHAPE, np.float32, "x")
    assert_same_bits(nd.layer_norm(offer(x, no_deleter=True, old=old)).to_numpy(), nd.layer_norm(x))


def test_a_refused_capsule_is_deleted_too():
    x = offer(np.ones(SHAPE, np.int32))
    with pytest.raises(TypeError, match=r"layer_norm: x must have dtype .*, got int32"):
        nd.layer_norm(x)
    assert x.deleted == 1
    weight = offer(np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"weight must have shape \(11,\), got \(3,\)"):
        nd.layer_norm(offer(np.ones(SHAPE, np.float32)), weight)
    assert weight.deleted == 1


@pytest.mark.parametrize("version", [(0, 8), (2, 0), (99, 1)])
def test_versions_of_another_layout_are_refused_unread(version):
    x = offer(np.ones(SHAPE, np.float32), version=version)
    got = f"{version[0]}.{version[1]}"
    with pytest.raises(BufferError, match=rf"x must come by DLPack of major .*, got version {got}"):
        nd.layer_norm(x)
    assert x.deleted == 1


def test_a_later_minor_version_is_read():
    x = normal(SHAPE, np.float32, "x")
    assert_same_bits(nd.layer_norm(offer(x, version=(1, 9))).to_numpy(), nd.layer_norm(x))


def test_a_capsule_of_another_name_is_left_alone():
    x = offer(np.ones(SHAPE, np.float32), capsule_name=b"used_dltensor")
    with pytest.raises(BufferError, match=r"x must give a capsule named .*, got 'used_dltensor'"):
        nd.layer_norm(x)
    assert x.deleted == 0


@pytest.mark.parametrize("known", [("stream", "max_version", "dl_device", "copy"), ("stream",), ()])
def test_producers_of_every_age_are_asked_as_they_understand(known):
    x = normal(SHAPE, np.float32, "x")
    dx = offer(x, arguments=known)
    assert_same_bits(nd.layer_norm(dx).to_numpy(), nd.layer_norm(x))
    assert dx.streams == [1 if "stream" in known else None], "never 0, which is ambiguous"
    assert dx.calls[0] == {"stream": 1, "max_version": (1, 3)}


def test_a_producer_that_refuses_is_heard():
    with pytest.raises(BufferError, match="not today"):
        nd.layer_norm(offer(np.ones(SHAPE, np.float32), refuses=BufferError("not today")))


@pytest.mark.parametrize("byte_offset", [4, 256])
def test_byte_offset(byte_offset):
    x = normal(SHAPE, np.float32, "x")
    for way in ("dlpack", "exchange"):
        y = nd.layer_norm(give(x, way, byte_offset=byte_offset))
        assert_same_bits(y.to_numpy(), nd.layer_norm(x))


@pytest.mark.parametrize("way", WAYS)
def test_missing_strides_mean_c_order(way):
    x = normal(SHAPE, np.float32, "x")
    assert_same_bits(nd.layer_norm(give(x, way, no_strides=True)).to_numpy(), nd.layer_norm(x))


def test_the_exchange_api_borrows_to_read_and_asks_for_flags_to_write():
    kind = exchanging()
    x, out = (offer(np.ones((3, 5), np.float32), kind) for _ in "xo")
    nd.layer_norm(x, out=out).numpy()
    assert x.exported == ["borrowed"] and out.exported == ["managed"]
    nd.layer_norm(x)  # gives back what earlier calls kept
    assert out.deleted == 1
    cautious = offer(np.ones((3, 5), np.float32), exchanging(borrows=False))
    nd.layer_norm(cautious)
    assert cautious.exported == ["managed"]


def test_the_exchange_api_of_another_major_version_is_passed_over():
    x = normal(SHAPE, np.float32, "x")
    older = offer(x, exchanging(older=True))
    assert_same_bits(nd.layer_norm(older).to_numpy(), nd.layer_norm(x))
    assert older.exported == ["borrowed"]

    class Newer(exchanging(version=(2, 0)), ByDlpack):
        pass

    newer = offer(x, Newer)
    assert_same_bits(nd.layer_norm(newer).to_numpy(), nd.layer_norm(x))
    assert newer.exported == [] and len(newer.capsules) == 1


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"typestr": "<V2"}, TypeError, "bfloat16.*DLPack"),
        ({"typestr": ">f4"}, TypeError, "native byte order, got '>f4'"),
        ({"typestr": "<i4"}, TypeError, "got int32"),
        ({"typestr": "|b1"}, TypeError, "got bool"),
        ({"typestr": 4}, ValueError, "'typestr', got 4"),
        ({"shape": [5, 7, 11]}, ValueError, "'shape', got"),
        ({"shape": (5.0,)}, ValueError, "'shape', got"),
        ({"strides": (4,)}, ValueError, "'strides', got"),
        ({"data": 5}, ValueError, "'data', got 5"),
        ({"data": (0, False)}, ValueError, "memory of a device"),
        ({"stream": 0}, ValueError, "'stream', got 0"),
        ({"stream": "1"}, ValueError, "'stream', got '1'"),
        ({"mask": 1}, TypeError, "must not be masked"),
    ],
)
def test_wrong_interfaces(fields, error, text):
    with pytest.raises(error, match=rf"layer_norm: x .*{text}"):
        nd.layer_norm(offer(np.ones(SHAPE, np.float32), ByInterface, fields=fields))


@pytest.mark.parametrize("fields", [{}, {"stream": None}, {"stream": 1}, {"version": 2}])
def test_interfaces_of_either_version(fields):
    x = normal(SHAPE, np.float32, "x")
    y = nd.layer_norm(offer(x, ByInterface, fields=fields))
    assert_same_bits(y.to_numpy(), nd.layer_norm(x))


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.complex64, np.bool_])
def test_other_dtypes(way, dtype):
    x = give(np.ones(SHAPE, dtype), way)
    with pytest.raises(TypeError, match=rf"x must have dtype .*, got {np.dtype(dtype).name}$"):
        nd.layer_norm(x)


def test_vectors_are_no_numbers():
    with pytest.raises(TypeError, match=r"got float32 in vectors of 4"):
        nd.layer_norm(offer(np.ones(SHAPE, np.float32), lanes=4))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numpy_and_device_arrays_do_not_mix(case):
    """Every argument, on the other side than the one that leads."""
    arguments = case.arguments(np.float32)
    there = given(case, arguments, "dlpack")
    outputs = {"out": (np.zeros(case.shape, np.float32), offer(np.zeros(case.shape, np.float32)))}
    pairs = {name: (get(arguments, name), get(there, name)) for name in case.function.arrays()}
    del pairs[case.function.leader]
    for name, (plain, on_device) in (pairs | (outputs if case.function.out else {})).items():
        text = (
            f"{case.function}: {name} must be a numpy.ndarray like the other arrays, got .*Dlpack"
        )
        with pytest.raises(TypeError, match=text):
            case.function.call(**with_changed(arguments, name, on_device))
        text = f"{name} must be an array on a device like the others?.*, got numpy.ndarray"
        with pytest.raises(TypeError, match=f"{case.function}: {text}"):
            case.function.call(**with_changed(there, name, plain))


def test_a_draw_lies_where_x_does():
    x = normal(SHAPE, np.float32, "x")
    with pytest.raises(TypeError, match=r"rng must be a numpy.ndarray .*DeviceArray"):
        nd.dropout(x, rng=nd.DeviceArray.from_numpy(np.zeros(2, np.uint64)))


def test_a_draw_must_be_two_unsigned_words():
    x = offer(np.ones(SHAPE, np.float32))
    with pytest.raises(TypeError, match=r"dropout: rng must have dtype uint64, got float32"):
        nd.dropout(x, rng=offer(np.ones(2, np.float32)))
    with pytest.raises(ValueError, match=r"dropout: rng must have shape \(2,\), got \(3,\)"):
        nd.dropout(x, rng=offer(np.ones(3, np.uint64)))


def test_memory_that_no_device_has():
    x = np.ones(SHAPE, np.float32)
    with pytest.raises(ValueError, match=r"x must lie in memory of a device .*, got the address"):
        nd.layer_norm(offer(x, address=x.ctypes.data))


def test_addresses_must_be_aligned():
    memory = Memory(np.ones(3, np.float32))
    memory.address += 2
    for kind in (ByDlpack, ByInterface):
        with pytest.raises(ValueError, match=r"x must be aligned to its elements of 4 bytes"):
            nd.layer_norm(kind(memory))
    strides = {"shape": (1, 2), "strides": (8, 5)}
    with pytest.raises(ValueError, match=r"x must be aligned .*strides \(8, 5\)"):
        nd.layer_norm(offer(np.ones((1, 2), np.float32), ByInterface, fields=strides))


def test_pinned_memory_and_host_tensors_are_no_device_arrays():
    for device_type in (1, 3):
        with pytest.raises(TypeError, match=r"x must be a numpy.ndarray, got .*ByDlpack"):
            nd.layer_norm(offer(np.ones(SHAPE, np.float32), device_type=device_type))


def test_arrays_of_different_devices():
    """The emulation has one device; an array without elements may claim another."""
    x = give(np.ones((0, 11), np.float32), "exchange", device=1)
    w = parameter((11,), np.float32, "w")
    with pytest.raises(ValueError, match=r"weight must be on device 1 like .*, got .* device 0"):
        nd.layer_norm(x, offer(w))


def test_errors_of_the_device_are_runtime_errors():
    """A stream that does not exist; and 70 of them leave nothing behind that blocks."""
    x = normal(SHAPE, np.float32, "x")
    wrong = exchanging(stream=12345)
    for _ in range(70):
        with pytest.raises(RuntimeError, match="stream"):
            nd.layer_norm(offer(x, wrong))
    kept = [offer(x) for _ in range(70)]
    for array in kept:
        nd.layer_norm(array).to_numpy()
    assert sum(array.deleted for array in kept) >= len(kept) - 1


def test_too_many_axes():
    x = offer(np.ones((1,) * 64, np.float32))
    x.tensor, inner = lambda: _with_rank(inner(), 65), x.tensor
    with pytest.raises(ValueError, match=r"at most 64 axes, got 65"):
        nd.layer_norm(x)


def _with_rank(tensor: Any, rank: int) -> Any:
    tensor.ndim = rank
    return tensor


def test_shapes_of_dropped_gradients():
    _, mask = nd.dropout_forward(offer(np.ones(SHAPE, np.float32)), rng=1)
    with pytest.raises(ValueError, match=r"grad_output must have shape \(5, 7, 11\), got \(5,\)"):
        nd.dropout_backward(offer(np.ones(5, np.float32)), mask)


def test_the_package_works_after_an_error():
    x = normal(SHAPE, np.float32, "x")
    for wrong in (offer(np.ones(3, np.int8)), offer(np.ones(3, np.float32), version=(3, 0))):
        with pytest.raises((TypeError, BufferError)):
            nd.layer_norm(offer(x), wrong)
        assert_same_bits(nd.layer_norm(offer(x)).to_numpy(), nd.layer_norm(x))


# Streams -----------------------------------------------------------------------------------------


@pytest.fixture
def two_streams() -> Iterator[tuple[int, int]]:
    streams = _core.new_stream(), _core.new_stream()
    yield streams
    for stream in streams:
        _core.delete_stream(stream)


def test_results_are_in_order_on_the_stream_of_x(two_streams):
    for stream in two_streams:
        for kind, knobs in ((exchanging(stream=stream), {}), (ByInterface, {"stream": stream})):
            y = nd.layer_norm(offer(np.ones(SHAPE, np.float32), kind, fields=knobs))
            assert y.__cuda_array_interface__["stream"] == stream


def test_arguments_of_other_streams_are_waited_for(two_streams):
    """Under lazy streams nothing is done that nobody waited for."""
    x, w, _ = x_and_parameters()
    here, there = two_streams
    weight = nd.layer_norm(offer(w, exchanging(stream=there)))
    y = nd.layer_norm(offer(x, exchanging(stream=here)), weight)
    assert_same_bits(y.to_numpy(), nd.layer_norm(x, nd.layer_norm(w)))


def test_other_streams_wait_before_they_write_what_was_read(two_streams):
    x, w, _ = x_and_parameters()
    here, there = two_streams
    memory = Memory(w)
    weight = ByInterface(memory, fields={"stream": there})
    y = nd.layer_norm(offer(x, exchanging(stream=here)), weight)
    nd.dropout(weight, 1.0, rng=1, out=weight)
    _core.synchronise(there)
    assert not weight.numpy().any()
    assert_same_bits(y.to_numpy(), nd.layer_norm(x, w))


def test_consumers_are_ordered_after_us(two_streams):
    x, w, _ = x_and_parameters()
    here, there = two_streams
    y = nd.layer_norm(offer(x, exchanging(stream=here)), offer(w))
    capsule = y.__dlpack__(stream=there, max_version=(1, 3))
    assert capsule_name(capsule) == b"dltensor_versioned"
    _core.synchronise(there)  # enough, since it waits for ours
    assert_same_bits(
        np.ctypeslib.as_array(_floats(y), SHAPE), nd.layer_norm(x, w), "not computed yet"
    )


def _floats(array: nd.DeviceArray) -> Any:
    """The emulated device's memory is the host's."""
    import ctypes

    address = array.__cuda_array_interface__["data"][0]
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_float))


@pytest.mark.parametrize("order", ["deferred", "lazy"])
def test_nothing_rests_on_streams_that_run_at_once(order):
    """This file again, of one dtype, with work that is put off until somebody waits for it."""
    if os.environ.get("NORMDROP_EMULATION_STREAMS"):
        return
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    command += ["-k", "not float16 and not float64"]
    environment = {**os.environ, "NORMDROP_EMULATION_STREAMS": order}
    run = subprocess.run(
        command, env=environment, cwd=Path(__file__).parent.parent, capture_output=True,
        text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]


# Libraries known by name -------------------------------------------------------------------------


def test_torch_tensors(monkeypatch, two_streams):
    torch = fake_torch(two_streams[0])
    monkeypatch.setitem(sys.modules, "torch", torch)
    x, w, b = x_and_parameters()
    turned = np.asfortranarray(x)
    dx, dw, db = (offer(array, torch.Tensor) for array in (turned, w, b))
    y, stats = nd.layer_norm_forward(dx, dw, db)
    assert type(y) is torch.Tensor and type(stats.inv_std) is torch.Tensor
    assert dx.streams == [-1], "no synchronisation, since we work on torch's own stream"
    assert [(call[0], call[2].name) for call in torch.created] == [
        (SHAPE, "float32"), ((5, 7), "float64"), ((5, 7), "float64"),
    ]  # fmt: skip
    assert torch.created[0][1] == (1, 5, 35), "the memory order of x"
    _core.synchronise(two_streams[0])
    expected, expected_stats = nd.layer_norm_forward(turned, w, b)
    assert_same_bits((y.numpy(), stats.mean.numpy()), (expected, expected_stats.mean))


def test_memory_of_a_library_runs_out(monkeypatch):
    torch = fake_torch(0)
    monkeypatch.setitem(sys.modules, "torch", torch)
    x, _, _ = x_and_parameters()
    dx = offer(x, torch.Tensor)

    class OutOfMemoryError(RuntimeError):
        pass

    def no_memory(*_: object, **__: object) -> None:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty_strided", no_memory)
        with pytest.raises(MemoryError, match=r"PyTorch: CUDA out of memory") as caught:
            nd.layer_norm(dx)
        assert isinstance(caught.value.__cause__, OutOfMemoryError)
    assert_same_bits(nd.layer_norm(dx).numpy(), nd.layer_norm(x))


def test_a_torch_tensor_that_requires_grad(monkeypatch):
    torch = fake_torch(0)
    monkeypatch.setitem(sys.modules, "torch", torch)
    x, w, _ = x_and_parameters()
    weight = offer(w, torch.Tensor)
    weight.requires_grad = True
    with pytest.raises(TypeError, match=r"layer_norm: weight must not require grad.*\.detach\(\)"):
        nd.layer_norm(offer(x, torch.Tensor), weight)


def test_cupy_arrays(monkeypatch, two_streams):
    cupy = fake_cupy(two_streams[0])
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    x, w, _ = x_and_parameters()
    turned = np.asfortranarray(x)
    dx = offer(turned, cupy.ndarray)
    y, stats = nd.layer_norm_forward(dx, offer(w, cupy.ndarray))
    assert type(y) is cupy.ndarray and type(stats.mean) is cupy.ndarray
    assert dx.streams == [-1]
    assert y.memory.array.strides == turned.strides
    _core.synchronise(two_streams[0])
    expected, expected_stats = nd.layer_norm_forward(turned, w)
    assert_same_bits((y.numpy(), stats.mean.numpy()), (expected, expected_stats.mean))


@pytest.mark.parametrize("x64", [False, True])
def test_jax_arrays(monkeypatch, two_streams, x64):
    jax = fake_jax(x64=x64)
    jax.stream = two_streams[1]
    monkeypatch.setitem(sys.modules, "jax", jax)
    x, w, _ = x_and_parameters()
    dx = offer(x, jax.Array)
    y, stats = nd.layer_norm_forward(dx, offer(w, jax.Array))
    assert dx.streams == [1], "JAX makes our stream wait for its work"
    assert type(y) is jax.Array and capsule_name(y.capsules[0]) == b"dltensor"
    # Without float64 in JAX, statistics stay what they are.
    assert type(stats.mean) is (jax.Array if x64 else nd.DeviceArray)
    expected, expected_stats = nd.layer_norm_forward(x, w)
    assert_same_bits(y.numpy(), expected)
    mean = stats.mean.numpy() if x64 else stats.mean.to_numpy()
    assert_same_bits(mean, expected_stats.mean)


def test_jax_arrays_are_never_written(monkeypatch):
    jax = fake_jax(x64=True)
    monkeypatch.setitem(sys.modules, "jax", jax)
    x = offer(np.ones(SHAPE, np.float32), jax.Array)
    with pytest.raises(TypeError, match=r"layer_norm: out must be writeable, got a JAX array"):
        nd.layer_norm(x, out=x)
    stats = nd.batch_norm_forward(x)[1]
    running = offer(np.zeros(7), jax.Array)
    with pytest.raises(TypeError, match=r"running_mean must be writeable, got a JAX array"):
        nd.update_running_stats(running, offer(np.ones(7)), stats)


def test_arrays_are_kept_until_the_stream_has_passed(two_streams):
    """A producer that knows nothing of our stream could use the memory anew."""
    kept = [offer(np.ones((2, 3), np.float32)) for _ in range(200)]
    results = [nd.layer_norm(x) for x in kept]
    assert sum(x.deleted for x in kept[:-64]) == len(kept) - 64
    results[-1].to_numpy()
    nd.layer_norm(offer(np.ones((2, 3), np.float32)))
    assert all(x.deleted == 1 for x in kept)


# DeviceArray -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.uint64]
)
def test_device_array_to_the_device_and_back(dtype):
    array = normal((3, 5), np.float32, "x").astype(dtype)
    there = nd.DeviceArray.from_numpy(array.T)
    assert there.shape == (5, 3) and there.dtype == array.dtype and there.device == 0
    assert there.nbytes == array.nbytes and there.strides == (3 * array.itemsize, array.itemsize)
    assert there.__dlpack_device__() == (2, 0)
    assert repr(there) == f"DeviceArray(shape=(5, 3), dtype={array.dtype.name}, device=0)"
    back = there.to_numpy()
    assert back.dtype == array.dtype and back.tobytes() == array.T.tobytes()
    for other in (copy.copy(there), copy.deepcopy(there), pickle.loads(pickle.dumps(there))):
        assert other.to_numpy().tobytes() == back.tobytes()


def test_device_array_by_the_interface():
    array = nd.DeviceArray.from_numpy(np.ones((3, 5), np.float32))
    interface = array.__cuda_array_interface__
    assert interface["shape"] == (3, 5) and interface["strides"] == (20, 4)
    assert interface["typestr"] == "<f4" and interface["version"] == 3
    assert interface["stream"] == 1 and interface["data"][1] is False
    half = nd.DeviceArray.from_numpy(np.ones(3, ml_dtypes.bfloat16))
    assert not hasattr(half, "__cuda_array_interface__")


@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (2, 5)])
def test_device_array_by_dlpack(max_version):
    array = nd.DeviceArray.from_numpy(np.ones((3, 5), np.float32))
    versioned = max_version is not None and max_version[0] >= 1
    name = b"dltensor_versioned" if versioned else b"dltensor"
    for stream in (None, -1, 1):
        capsule = array.__dlpack__(stream=stream, max_version=max_version)
        assert capsule_name(capsule) == name


def test_device_array_refuses_what_dlpack_rules_out():
    array = nd.DeviceArray.from_numpy(np.ones((3, 5), np.float32))
    with pytest.raises(ValueError, match=r"stream must be .*, got 0"):
        array.__dlpack__(stream=0)
    with pytest.raises(BufferError, match="to_numpy"):
        array.__dlpack__(dl_device=(1, 0))
    with pytest.raises(BufferError, match="copies"):
        array.__dlpack__(copy=True)
    array.__dlpack__(dl_device=(2, 0), copy=False)


def test_device_array_from_what_is_no_array():
    with pytest.raises(TypeError, match=r"from_numpy: array must be a numpy.ndarray, got list"):
        nd.DeviceArray.from_numpy([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"from_numpy: array must have dtype .*, got int32"):
        nd.DeviceArray.from_numpy(np.ones(3, np.int32))
    with pytest.raises(ValueError, match=r"from_numpy: device must be from 0 to 0, got 1"):
        nd.DeviceArray.from_numpy(np.ones(3), 1)


def test_memory_that_there_is_none_of():
    """Too much for any device: MemoryError, and everything works afterwards."""
    x = nd.DeviceArray.from_numpy(np.ones(1, np.float32))
    huge = offer(np.ones((1, 1), np.float32), ByInterface,
                 fields={"shape": (2**45, 4), "strides": (0, 0)})  # fmt: skip
    with pytest.raises(MemoryError):
        nd.dropout(huge, rng=1)
    assert nd.dropout(x, 0.0, rng=1).to_numpy() == [1.0]


def test_results_compare():
    x, w, _ = x_and_parameters()
    first, second = (nd.layer_norm_forward(offer(x), offer(w))[1] for _ in range(2))
    other = nd.layer_norm_forward(offer(x + 1), offer(w))[1]
    assert first == second and first != other
    assert pickle.loads(pickle.dumps(first)) == first


# Without a device --------------------------------------------------------------------------------


def test_threads_may_call_at_once():
    from concurrent.futures import ThreadPoolExecutor

    x, w, b = x_and_parameters()
    expected = nd.layer_norm(x, w, b)

    def work(_: int) -> bytes:
        with nd.use_backend(EMULATED):
            return nd.layer_norm(offer(x), offer(w), offer(b)).to_numpy().tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(40))) == {expected.tobytes()}


def test_device_arrays_find_the_device_under_a_cpu_backend():
    """Wherever they lie, there they are computed; the choice of backend is for NumPy arrays."""
    x = normal(SHAPE, np.float32, "x")
    expected = nd.layer_norm(x)
    if "cuda" in nd.backends():
        return  # device arrays of this process would be the card's
    with contextlib.ExitStack() as stack:
        stack.enter_context(nd.use_backend("baseline"))
        assert_same_bits(nd.layer_norm(offer(x)).to_numpy(), expected)
