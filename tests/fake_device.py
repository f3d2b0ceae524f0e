"""Producers of device arrays as other libraries are, over memory of the emulated device.

``offer(array, ...)`` lays a NumPy array of any strides out in the device's memory and returns an
object that offers it by the protocols that were asked for, and records what was done with it.
"""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import normdrop as nd

Array = npt.NDArray[Any]
CUDA, CPU, READ_ONLY = 2, 1, 1


class Device(ctypes.Structure):
    """DLDevice."""

    _fields_: ClassVar = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class DataType(ctypes.Structure):
    """DLDataType."""

    _fields_: ClassVar = [
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_: ClassVar = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", Deleter)]


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_: ClassVar = [
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
capsule_name = ctypes.pythonapi.PyCapsule_GetName
capsule_name.restype = ctypes.c_char_p
capsule_name.argtypes = [ctypes.py_object]

# A consumer may hold a managed tensor for longer than the array lives.
HANDED_OUT: list[Any] = []

CODES = {"i": 0, "u": 1, "f": 2, "V": 4, "c": 5, "b": 6}


class Memory:
    """Bytes of the device that hold a NumPy array with its strides, and what lay around it."""

    def __init__(self, array: Array) -> None:
        self.array = array
        low, high = np.lib.array_utils.byte_bounds(array)
        count = high - low if array.size else 0
        words = np.zeros(-(-count // 8), np.float64)
        ctypes.memmove(words.ctypes.data, low, count)
        self.own = nd.DeviceArray.from_numpy(words)
        self.offset = array.ctypes.data - low if array.size else 0
        start = self.own.__cuda_array_interface__["data"][0]
        self.address = start + self.offset if array.size else 0

    @classmethod
    def shared(cls, own: nd.DeviceArray, array: Array, offset: int = 0) -> Memory:
        """What already lies there, seen with the shape, strides and dtype of ``array``."""
        memory = cls.__new__(cls)
        memory.own, memory.array, memory.offset = own, array, offset
        memory.address = own.__cuda_array_interface__["data"][0] + offset
        return memory

    def numpy(self) -> Array:
        """What the array holds now."""
        words = self.own.to_numpy()
        return np.ndarray(
            self.array.shape, self.array.dtype, words.tobytes(), self.offset, self.array.strides
        )


class Offered:
    """What every fake array has: a shape, a dtype, and a record."""

    def __init__(self, memory: Memory, **knobs: Any) -> None:
        self.memory = memory
        self.knobs = knobs
        self.shape = memory.array.shape
        self.dtype = memory.array.dtype
        self.streams: list[Any] = []  # every stream that __dlpack__ was called with
        self.calls: list[dict[str, Any]] = []
        self.capsules: list[Any] = []
        self.deleted = 0
        self.kept: list[Any] = []

    def numpy(self) -> Array:
        return self.memory.numpy()

    def tensor(self) -> Tensor:
        array, knobs = self.memory.array, self.knobs
        rank = array.ndim
        shape = (ctypes.c_int64 * rank)(*array.shape)
        strides = (ctypes.c_int64 * rank)(*(s // array.itemsize for s in array.strides))
        self.kept += [shape, strides]
        dtype = DataType(CODES[array.dtype.kind], 8 * array.itemsize, knobs.get("lanes", 1))
        offset = knobs.get("byte_offset", 0)
        address = knobs.get("address", self.memory.address)
        pointer = ctypes.POINTER(ctypes.c_int64)
        return Tensor(
            address - offset if address else None,
            Device(knobs.get("device_type", CUDA), knobs.get("device", 0)),
            rank,
            dtype,
            ctypes.cast(shape, pointer),
            None if knobs.get("no_strides") else ctypes.cast(strides, pointer),
            offset,
        )

    def managed(self, versioned: bool) -> Any:
        """A managed tensor whose deleter counts."""

        def delete(_: int) -> None:
            self.deleted += 1

        deleter = Deleter() if self.knobs.get("no_deleter") else Deleter(delete)
        if versioned:
            version = (ctypes.c_uint32 * 2)(*self.knobs.get("version", (1, 3)))
            flags = READ_ONLY if self.knobs.get("read_only") else 0
            managed: Any = Versioned(version, None, deleter, flags, self.tensor())
        else:
            managed = Managed(self.tensor(), None, deleter)
        HANDED_OUT.append((self, managed, deleter))
        return managed

    def capsule(self, versioned: bool) -> Any:
        name = b"dltensor_versioned" if versioned else b"dltensor"
        name = self.knobs.get("capsule_name", name)
        self.kept.append(name)
        capsule = new_capsule(ctypes.addressof(self.managed(versioned)), name, None)
        self.capsules.append(capsule)
        return capsule


class ByDlpack(Offered):
    """``__dlpack__`` of the current standard."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.knobs.get("device_type", CUDA), self.knobs.get("device", 0)

    def __dlpack__(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        known = self.knobs.get("arguments", ("stream", "max_version", "dl_device", "copy"))
        if set(arguments) - set(known):
            raise TypeError("unexpected keyword argument")
        self.streams.append(arguments.get("stream"))
        if "refuses" in self.knobs:
            raise self.knobs["refuses"]
        return self.capsule("max_version" in known and not self.knobs.get("old"))


class ByInterface(Offered):
    """``__cuda_array_interface__``."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        array = self.memory.array
        interface = {
            "shape": array.shape,
            "strides": None if self.knobs.get("no_strides") else array.strides,
            "typestr": array.dtype.str,
            "data": (self.memory.address, bool(self.knobs.get("read_only"))),
            "version": 3,
        }
        return {**interface, **self.knobs.get("fields", {})}


class ByBoth(ByDlpack, ByInterface):
    """Both of them, as CuPy."""


class ApiHeader(ctypes.Structure):
    """DLPackExchangeAPIHeader."""


ApiHeader._fields_ = [("version", ctypes.c_uint32 * 2), ("previous", ctypes.POINTER(ApiHeader))]

Export = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)
CurrentStream = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p)
)


class Api(ctypes.Structure):
    """DLPackExchangeAPI; the functions that nobody calls here are null."""

    _fields_: ClassVar = [
        ("header", ApiHeader),
        ("allocate", ctypes.c_void_p),
        ("export_managed", Export),
        ("import_managed", ctypes.c_void_p),
        ("export_borrowed", Export),
        ("current_stream", CurrentStream),
    ]


def exchanging(
    *, version: tuple[int, int] = (1, 3), stream: int = 0, borrows: bool = True, older: bool = False
) -> type[Any]:
    """A type with ``__dlpack_c_exchange_api__``, which counts how it was used.

    With ``older`` the table of that version comes second, behind one of major version 99.
    """

    def export_borrowed(array: Any, out: int) -> int:
        array.exported.append("borrowed")
        tensor = array.tensor()
        ctypes.memmove(out, ctypes.addressof(tensor), ctypes.sizeof(tensor))
        return 0

    def export_managed(array: Any, out: int) -> int:
        array.exported.append("managed")
        managed = array.managed(versioned=True)
        ctypes.c_void_p.from_address(out).value = ctypes.addressof(managed)
        return 0

    def current_stream(device_type: int, device: int, out: Any) -> int:
        out[0] = stream or None
        return 0

    functions = (Export(export_managed), Export(export_borrowed), CurrentStream(current_stream))
    api = Api(
        ApiHeader((ctypes.c_uint32 * 2)(*version), None),
        None,
        functions[0],
        None,
        functions[1] if borrows else Export(),
        functions[2],
    )
    head: Any = api
    if older:
        head = ApiHeader((ctypes.c_uint32 * 2)(99, 0), ctypes.pointer(api.header))

    class ByExchange(Offered):
        __dlpack_c_exchange_api__ = new_capsule(
            ctypes.addressof(head), b"dlpack_exchange_api", None
        )
        alive = (functions, api, head)

        def __init__(self, memory: Memory, **knobs: Any) -> None:
            super().__init__(memory, **knobs)
            self.exported: list[str] = []

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.knobs.get("device_type", CUDA), self.knobs.get("device", 0)

    return ByExchange


def offer(array: Array, kind: type[Any] = ByDlpack, **knobs: Any) -> Any:
    """The array in the device's memory, offered as ``kind`` does it."""
    return kind(Memory(array), **knobs)


# Libraries that are known by name ----------------------------------------------------------------


def fake_torch(stream: int) -> ModuleType:
    """A module ``torch`` with what is used of it; tensors offer DLPack as torch did before 2.10."""

    class FakeTensor(ByDlpack):
        requires_grad = False
        device = "cuda:0"

        def data_ptr(self) -> int:
            return self.memory.address

        def detach(self) -> Any:
            return self

    FakeTensor.__module__, FakeTensor.__qualname__ = "torch", "Tensor"
    module: Any = ModuleType("torch")
    module.Tensor = FakeTensor
    module.created = []
    for name in ("float16", "float32", "float64"):
        setattr(module, name, np.dtype(name))

    class Stream:
        cuda_stream = stream

    module.cuda = ModuleType("torch.cuda")
    module.cuda.current_stream = lambda device: Stream

    def empty_strided(shape: Any, strides: Any, *, dtype: Any, device: Any) -> FakeTensor:
        count = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        line = np.zeros(count if 0 not in shape else 0, dtype)
        steps = [s * dtype.itemsize for s in strides]
        module.created.append((shape, strides, dtype, device))
        return offer(np.lib.stride_tricks.as_strided(line, shape, steps), FakeTensor)

    module.empty_strided = empty_strided
    return module


def fake_cupy(stream: int) -> ModuleType:
    """A module ``cupy`` with what is used of it."""

    class FakeArray(ByBoth):
        @property
        def data(self) -> Any:
            pointer: Any = ModuleType("pointer")
            pointer.ptr = self.memory.address
            return pointer

        def transpose(self, axes: tuple[int, ...]) -> Any:
            memory = self.memory
            turned = memory.array.transpose(axes)
            return FakeArray(Memory.shared(memory.own, turned, memory.offset))

    FakeArray.__module__, FakeArray.__qualname__ = "cupy", "ndarray"
    module: Any = ModuleType("cupy")
    module.ndarray = FakeArray
    module.empty = lambda shape, dtype: offer(np.zeros(shape, dtype), FakeArray)

    class Stream:
        ptr = stream

    module.cuda = ModuleType("cupy.cuda")
    module.cuda.get_current_stream = lambda: Stream
    return module


def fake_jax(*, x64: bool) -> ModuleType:
    """A module ``jax`` whose arrays come from ``jax.dlpack.from_dlpack``."""

    class FakeArray(ByDlpack):
        pass

    FakeArray.__module__, FakeArray.__qualname__ = "jax", "Array"
    module: Any = ModuleType("jax")
    module.Array = FakeArray
    module.config = ModuleType("jax.config")
    module.config.jax_enable_x64 = x64
    module.dlpack = ModuleType("jax.dlpack")
    module.stream = None

    def from_dlpack(array: Any) -> FakeArray:
        capsule = array.__dlpack__(stream=module.stream)
        taken = FakeArray(Memory.shared(array, np.empty(array.shape, array.dtype)))
        taken.capsules.append(capsule)
        return taken

    module.dlpack.from_dlpack = from_dlpack
    return module
