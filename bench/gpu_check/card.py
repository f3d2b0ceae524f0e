"""The device as the checks see it: `Card` is the GPU by way of PyTorch, `DryCard` the host.

A dry run goes through the same lines with NumPy arrays under a backend that needs no device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

import normdrop as nd
from gpu_check.findings import Skip

_ELEMENTS_IN_A_LINE = 128


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return a dtype by its name; bfloat16 needs a package."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError as error:
        raise Skip("bfloat16 needs ml_dtypes, which is not installed") from error


class DryCard:
    """Arrays of the host, streams that do nothing, graphs that call again."""

    dry = True

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def put(self, values: np.ndarray[Any, Any], offset: int = 0) -> Any:
        """Copy into new memory, ``offset`` elements behind an aligned address."""
        line = np.zeros(values.size + _ELEMENTS_IN_A_LINE, values.dtype)
        start = (-line.ctypes.data % 64) // values.itemsize + offset
        view = line[start : start + values.size].reshape(values.shape)
        view[...] = values
        return view

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy to the host."""
        return np.array(array)

    def overwrite(self, array: Any, values: np.ndarray[Any, Any]) -> None:
        """Put other values into an array."""
        array[...] = values

    def new_stream(self) -> Any:
        """Make a stream."""
        return object()

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Make a stream the current one."""
        return nullcontext()

    def keep_busy(self) -> None:
        """Give the current stream a few milliseconds of work."""

    def synchronise(self) -> None:
        """Wait for everything."""

    def capture(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Callable[[], Any]]:
        """Capture work into a graph; functions that replay it and give its results."""
        results: list[Any] = []

        def replay() -> None:
            results[:] = [work()]

        return replay, lambda: results[0]

    def new_draw(self, seed: int, call: int) -> Any:
        """Make an array of seed and call that kernels read."""
        return np.array([seed, call], np.uint64)

    def set_draw(self, draw: Any, seed: int, call: int) -> None:
        """Put other numbers into such an array."""
        draw[:] = (seed, call)

    def rng(self, draw: Any) -> Any:
        """Turn an array of seed and call into an argument; a device's array is one already."""
        return int(draw[0]), int(draw[1])

    def advance(self, draw: Any) -> None:
        """Count the call on, on the current stream."""
        draw[1] += np.uint64(1)

    def endless(self) -> dict[str, Any]:
        """Make arrays whose results no memory can hold, by who would allocate these."""
        return {"the host": np.broadcast_to(np.float32(1), (1 << 50,))}

    def devices(self) -> list[int]:
        """Number the devices."""
        return [0]

    def current_device(self) -> int:
        """Tell the current device."""
        return 0

    def on_device(self, device: int) -> AbstractContextManager[Any]:
        """Make a device the current one."""
        return nullcontext()


class Card(DryCard):
    """The GPU; arrays are PyTorch's."""

    dry = False
    device = "cuda"

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        try:
            self.torch: Any = importlib.import_module("torch")
        except ModuleNotFoundError as error:
            raise Skip("needs PyTorch, which is not installed") from error
        if not self.torch.cuda.is_available():
            raise Skip("needs PyTorch with CUDA; this one sees no device")
        self.cuda: Any = self.torch.cuda

    def tensor(self, values: np.ndarray[Any, Any]) -> Any:
        """Copy to the device; NumPy's bfloat16 goes by its bits, PyTorch does not know it."""
        packed = np.array(values, order="C")
        if packed.dtype.name == "bfloat16":
            bits = self.torch.from_numpy(packed.view(np.int16))
            return bits.to(self.device).view(self.torch.bfloat16)
        return self.torch.from_numpy(packed).to(self.device)

    def put(self, values: np.ndarray[Any, Any], offset: int = 0) -> Any:
        source = self.tensor(values)
        line = self.torch.zeros(
            values.size + _ELEMENTS_IN_A_LINE, dtype=source.dtype, device=source.device
        )
        view = line[offset : offset + values.size].view(values.shape)
        view.copy_(source)
        return view

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        if array.dtype == self.torch.bfloat16:
            bits: np.ndarray[Any, Any] = array.contiguous().view(self.torch.int16).cpu().numpy()
            return bits.view(numpy_dtype("bfloat16"))
        on_host: np.ndarray[Any, Any] = array.cpu().numpy()
        return on_host

    def overwrite(self, array: Any, values: np.ndarray[Any, Any]) -> None:
        array.copy_(self.tensor(values))

    def new_stream(self) -> Any:
        return self.cuda.Stream()

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.cuda.stream(stream)
        return context

    def keep_busy(self) -> None:
        self.cuda._sleep(10_000_000)

    def synchronise(self) -> None:
        self.cuda.synchronize()

    def capture(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Callable[[], Any]]:
        """Warm up on a side stream first, so that nothing is allocated for good in the capture."""
        side = self.cuda.Stream()
        side.wait_stream(self.cuda.current_stream())
        with self.cuda.stream(side):
            work()
        self.cuda.current_stream().wait_stream(side)
        graph = self.cuda.CUDAGraph()
        with self.cuda.graph(graph):
            results = work()
        return graph.replay, lambda: results

    def new_draw(self, seed: int, call: int) -> Any:
        zeros = self.torch.zeros(2, dtype=self.torch.int64, device=self.device)
        draw = zeros.view(self.torch.uint64)
        self.set_draw(draw, seed, call)
        return draw

    def set_draw(self, draw: Any, seed: int, call: int) -> None:
        bits = np.array([seed, call], np.uint64).view(np.int64)
        draw.view(self.torch.int64).copy_(self.torch.from_numpy(bits))

    def rng(self, draw: Any) -> Any:
        return draw

    def advance(self, draw: Any) -> None:
        # PyTorch adds no unsigned numbers; in two's complement it is the same addition.
        draw.view(self.torch.int64)[1:].add_(1)

    def endless(self) -> dict[str, Any]:
        one = self.torch.ones(1, dtype=self.torch.float32, device=self.device)
        return {"PyTorch": one.expand(1 << 46), "normdrop": Foreign(one, 1 << 46)}

    def devices(self) -> list[int]:
        return list(range(self.cuda.device_count()))

    def current_device(self) -> int:
        return int(self.cuda.current_device())

    def on_device(self, device: int) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.cuda.device(device)
        return context


class Foreign:
    """An array of a library that nobody knows: results are normdrop's own arrays.

    One element, repeated ``size`` times by a stride of 0.
    """

    def __init__(self, one: Any, size: int) -> None:
        self.one = one
        self.shape = (size,)
        self.__cuda_array_interface__ = {
            "shape": self.shape,
            "strides": (0,),
            "typestr": "<f4",
            "data": (one.data_ptr(), True),
            "version": 3,
        }


def open_card(dry: bool) -> DryCard:
    """Return the device of a run; `Skip` where PyTorch cannot reach one."""
    return DryCard(dry_backend()) if dry else Card("cuda")


def dry_backend() -> str:
    """Name the backend that stands in for the device: the emulated one where it was built."""
    usable = nd.backends()
    return "cuda-emulated" if "cuda-emulated" in usable else usable[0]


def reference_backend(backend: str) -> str:
    """Name a backend of the CPU to compare with, not ``backend`` itself if possible."""
    on_cpu = [name for name in nd.backends() if not name.startswith("cuda") and name != backend]
    return on_cpu[0] if on_cpu else backend
