"""What counts as an array: memory maps do, other subclasses and other libraries' arrays do not.

Every argument in every layout, maps among them, is in test_layouts; here are the kinds of results,
and the advice that a refusal gives.
"""

from __future__ import annotations

import numpy as np
import pytest

import normdrop as nd
from bad_arrays import FakeDeviceArray
from cases import memory_map, normal
from comparing import assert_same_bits
from good_calls import Geometry, cases, get, put, with_changed
from normdrop.layers import BatchNorm, LayerNorm

SHAPE = (5, 7)
ONE: dict[str, list[Geometry]] = {
    "over_axes": [(SHAPE, -1)],
    "per_channel": [(SHAPE, 1)],
    "channel_groups": [((5, 6), 1, 3)],
    "elements": [(SHAPE,)],
}
CASES = cases(ONE, short=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_of_memory_maps_are_plain_arrays(case):
    arguments = case.arguments(np.float32)
    expected = case.function.call(**arguments)
    for argument in case.function.arrays():
        put(arguments, argument, memory_map(get(arguments, argument)))
    returned = case.function.call(**arguments)
    assert_same_bits(returned, expected)
    for one in case.function.results(returned, arguments):
        assert one.role == "new_count" or type(one.array) is np.ndarray, one.name


@pytest.mark.parametrize("case", [case for case in CASES if case.function.out], ids=str)
def test_out_may_be_a_memory_map(case):
    """A new one, the input that it may be, and every other element of one."""
    arguments = case.arguments(np.float32)
    expected = case.function.call(**arguments)
    own = case.function.out.may_be
    mapped = memory_map(get(arguments, own))
    part = memory_map(np.zeros((case.shape[0], 2 * case.shape[1]), np.float32))[:, ::2]
    in_place = with_changed(arguments, own, mapped)
    for out, changed in ((part, arguments), (mapped, in_place)):
        got = case.function.call(**changed, out=out)
        assert case.function.results(got, arguments)[0].array is out
        assert_same_bits(got, expected)


def test_running_statistics_may_be_memory_maps():
    x = normal((11, 5), np.float32, "x")
    _, stats = nd.batch_norm_forward(x)
    plain = np.zeros(5), np.ones(5)
    mapped = memory_map(plain[0]), memory_map(plain[1])
    for running in (plain, mapped):
        nd.update_running_stats(*running, stats)
    for got, expected in zip(mapped, plain, strict=True):
        assert_same_bits(np.asarray(got), expected)
    assert_same_bits(nd.batch_norm(x, *mapped), nd.batch_norm(x, *plain))
    assert nd.BatchStats.from_running(*mapped) == nd.BatchStats.from_running(*plain)


def test_what_load_gives_with_a_map_mode(tmp_path):
    x = normal(SHAPE, np.float64, "x")
    np.save(tmp_path / "x.npy", x)
    read = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_same_bits(nd.layer_norm(read), nd.layer_norm(x))
    with pytest.raises(ValueError, match="layer_norm: out must be writeable"):
        nd.layer_norm(x, out=read)
    copied = np.load(tmp_path / "x.npy", mmap_mode="c")
    with pytest.raises(ValueError, match="out must not share memory with x"):
        nd.layer_norm(copied, out=copied[::-1])


def test_layers_take_memory_maps():
    x = memory_map(normal(SHAPE, np.float32, "x"))
    for layer in (LayerNorm(7), BatchNorm(7)):
        layer(x)
        assert type(layer.backward(x)) is np.ndarray


class WithToNumpy:
    """As a data frame or a series of any library."""

    def to_numpy(self) -> np.ndarray:
        return np.ones(3)


class WithArray:
    """Whatever NumPy can convert."""

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.ones(3)


class HostTensor:
    """As a tensor of a framework in the host's memory."""

    def numpy(self) -> np.ndarray:
        return np.ones(3)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class TorchTensor(HostTensor):
    """As one that may require a gradient."""

    dtype = "torch.float32"

    def detach(self) -> TorchTensor:
        return self


class BfloatTensor(TorchTensor):
    """As one that its framework cannot give to NumPy."""

    dtype = "torch.bfloat16"


X = normal(SHAPE, np.float32, "x")
ADVICE = {
    "matrix": (X.view(np.matrix), "got numpy.matrix; pass numpy.asarray() of it"),
    "masked": (np.ma.masked_array(X), "MaskedArray; pass .filled(value) of it, or its .data"),
    "records": (X.view(np.recarray), "recarray; pass numpy.asarray() of it"),
    "list": (X.tolist(), "got list; pass numpy.asarray() of it, with the dtype that is meant"),
    "tuple": (tuple(X.tolist()), "got tuple; pass numpy.asarray() of it, with the dtype"),
    "data frame": (WithToNumpy(), "WithToNumpy; pass .to_numpy() of it"),
    "convertible": (WithArray(), "WithArray; pass numpy.asarray() of it"),
    "memoryview": (memoryview(X), "got memoryview; pass numpy.asarray() of it"),
    "tensor": (HostTensor(), "HostTensor; pass .numpy() of it"),
    "torch": (TorchTensor(), "pass .numpy() of it, after .detach() where it requires grad"),
    "bfloat16 of torch": (BfloatTensor(), "torch.int16).numpy().view(ml_dtypes.bfloat16) of it"),
    "number": (3.0, "got float"),
    "text": ("abc", "got str"),
}


@pytest.mark.parametrize("kind", ADVICE)
def test_a_refusal_says_what_to_pass(kind):
    value, advice = ADVICE[kind]
    for call in (lambda: nd.layer_norm(value), lambda: nd.layer_norm(X, value)):
        with pytest.raises(TypeError) as caught:
            call()
        text = str(caught.value)
        assert text.startswith("layer_norm: ") and "must be a numpy.ndarray, got " in text
        assert text.endswith(advice) if kind != "tuple" else advice in text


def test_the_advice_works():
    """What is said of NumPy's own kinds is accepted when it is followed."""
    expected = nd.layer_norm(X)
    for kind in ("matrix", "records", "list", "memoryview"):
        followed = np.asarray(ADVICE[kind][0], np.float32)
        assert_same_bits(nd.layer_norm(followed), expected)
    masked = ADVICE["masked"][0]
    for followed in (masked.filled(0.0), masked.data):
        assert_same_bits(nd.layer_norm(followed), expected)


@pytest.mark.frameworks
def test_advice_for_tensors_of_torch_works():
    torch = pytest.importorskip("torch")
    import ml_dtypes

    tensor = torch.ones(5, 7, dtype=torch.bfloat16, requires_grad=True)
    with pytest.raises(TypeError, match=r"ml_dtypes\.bfloat16"):
        nd.layer_norm(tensor)
    followed = tensor.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    assert nd.layer_norm(followed).dtype == ml_dtypes.bfloat16


def test_no_advice_for_what_lies_elsewhere():
    with pytest.raises((TypeError, RuntimeError, ValueError)) as caught:
        nd.layer_norm(X, FakeDeviceArray())
    assert "numpy.asarray() of it" not in str(caught.value)


@pytest.mark.parametrize("case", [case for case in CASES if case.function.arrays("parameter")],
                         ids=str)  # fmt: skip
def test_a_parameter_of_another_dtype_names_that_of_x(case):
    function, arguments = case.function, case.arguments(np.float64)
    name = function.arrays("parameter")[0]
    text = f"{name} must have dtype float64 as {function.leader} has, got float32"
    with pytest.raises(TypeError, match=f"^{function}: {text}"):
        function.call(**with_changed(arguments, name, arguments[name].astype(np.float32)))
