from contextvars import ContextVar
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop._typing import Array, ArrayArgument, Axis

_Array = npt.NDArray[Any]

context_backend: ContextVar[object]
context_threads: ContextVar[int]
most_threads: int
smallest_pooled_bytes: int

class DeviceArray:
    """An array in a device's memory that normdrop owns."""

    @staticmethod
    def from_numpy(array: _Array, device: int = 0) -> DeviceArray: ...
    def to_numpy(self) -> _Array: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def device(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object: ...

def backends() -> list[str]: ...
def backend_token(name: str) -> object: ...
def active_backend() -> str: ...
def process_backend() -> str: ...
def set_process_backend(name: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def checked_thread_count(count: int) -> int: ...
def pool_limit() -> int: ...
def set_pool_limit(bytes: int) -> None: ...
def release_pool() -> None: ...
def set_staging_chunk(bytes: int) -> None: ...
def new_stream() -> int: ...
def delete_stream(stream: int) -> None: ...
def synchronise(stream: int) -> None: ...
def is_device_array(array: object) -> bool: ...
def to_numpy(array: object) -> _Array: ...
def config() -> dict[str, Any]: ...
def philox4x32(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]: ...
def copy_bandwidth_kernel(target: _Array, source: _Array, streaming: bool) -> None: ...
def layer_norm(
    x: Array,
    weight: ArrayArgument | None,
    bias: ArrayArgument | None,
    axis: Axis,
    eps: float,
    out: ArrayArgument | None,
) -> Array: ...
def layer_norm_forward(
    x: Any,
    weight: Any,
    bias: Any,
    axis: Axis,
    eps: float,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def layer_norm_backward(
    grad_output: Any,
    x: Any,
    stats: object,
    weight: Any,
    axis: Axis,
    bias: bool,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def rms_norm(
    x: Array,
    weight: ArrayArgument | None,
    bias: ArrayArgument | None,
    axis: Axis,
    eps: float,
    out: ArrayArgument | None,
) -> Array: ...
def rms_norm_forward(
    x: Any,
    weight: Any,
    bias: Any,
    axis: Axis,
    eps: float,
    out: Any,
) -> tuple[Any, Any]: ...
def rms_norm_backward(
    grad_output: Any,
    x: Any,
    stats: object,
    weight: Any,
    axis: Axis,
    bias: bool,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def group_norm(
    x: Array,
    num_groups: SupportsIndex,
    weight: ArrayArgument | None,
    bias: ArrayArgument | None,
    channel_axis: SupportsIndex,
    eps: float,
    out: ArrayArgument | None,
) -> Array: ...
def group_norm_forward(
    x: Any,
    num_groups: SupportsIndex,
    weight: Any,
    bias: Any,
    channel_axis: SupportsIndex,
    eps: float,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def group_norm_backward(
    grad_output: Any,
    x: Any,
    stats: object,
    num_groups: SupportsIndex,
    weight: Any,
    channel_axis: SupportsIndex,
    bias: bool,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def instance_norm(
    x: Array,
    weight: ArrayArgument | None,
    bias: ArrayArgument | None,
    channel_axis: SupportsIndex,
    eps: float,
    out: ArrayArgument | None,
) -> Array: ...
def instance_norm_forward(
    x: Any,
    weight: Any,
    bias: Any,
    channel_axis: SupportsIndex,
    eps: float,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def instance_norm_backward(
    grad_output: Any,
    x: Any,
    stats: object,
    weight: Any,
    channel_axis: SupportsIndex,
    bias: bool,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def batch_stats(x: Any, channel_axis: SupportsIndex, eps: float) -> tuple[Any, Any, Any, int]: ...
def batch_norm_apply(
    x: Array,
    stats: object,
    weight: ArrayArgument | None,
    bias: ArrayArgument | None,
    channel_axis: SupportsIndex,
    out: ArrayArgument | None,
) -> Array: ...
def batch_norm_gradient_sums(
    grad_output: Any, x: Any, stats: object, channel_axis: SupportsIndex
) -> tuple[Any, Any, int]: ...
def batch_norm_backward_apply(
    grad_output: Array,
    x: ArrayArgument,
    stats: object,
    sums: object,
    weight: ArrayArgument | None,
    channel_axis: SupportsIndex,
    out: ArrayArgument | None,
) -> Array: ...
def weight_norm(
    v: Array, g: ArrayArgument, axis: SupportsIndex, out: ArrayArgument | None
) -> Array: ...
def weight_norm_forward(v: Any, g: Any, axis: SupportsIndex, out: Any) -> tuple[Any, Any]: ...
def weight_norm_backward(
    grad_w: Any, v: Any, g: Any, norm: Any, axis: SupportsIndex
) -> tuple[Any, Any]: ...
def prelu(
    x: Array, weight: ArrayArgument, channel_axis: SupportsIndex, out: ArrayArgument | None
) -> Array: ...
def prelu_backward(
    grad_output: Any, x: Any, weight: Any, channel_axis: SupportsIndex
) -> tuple[Any, Any]: ...
def dropout_add_layer_norm_forward(
    x: Any,
    residual: Any,
    weight: Any,
    bias: Any,
    seed: int,
    call: int,
    threshold: int,
    draw: object | None,
    axis: Axis,
    eps: float,
) -> tuple[Any, Any, Any, Any]: ...
def dropout_add_layer_norm_backward(
    grad_y: Any,
    sum: Any,
    stats: object,
    weight: Any,
    seed: int,
    call: int,
    threshold: int,
    draw: object | None,
    grad_sum: Any,
    axis: Axis,
    bias: bool,
) -> tuple[Any, Any, Any, Any]: ...
def dropout_add_rms_norm_forward(
    x: Any,
    residual: Any,
    weight: Any,
    bias: Any,
    seed: int,
    call: int,
    threshold: int,
    draw: object | None,
    axis: Axis,
    eps: float,
) -> tuple[Any, Any, Any]: ...
def dropout_add_rms_norm_backward(
    grad_y: Any,
    sum: Any,
    stats: object,
    weight: Any,
    seed: int,
    call: int,
    threshold: int,
    draw: object | None,
    grad_sum: Any,
    axis: Axis,
    bias: bool,
) -> tuple[Any, Any, Any, Any]: ...
def batch_norm(
    x: Array,
    running_mean: ArrayArgument,
    running_var: ArrayArgument,
    weight: ArrayArgument | None,
    bias: ArrayArgument | None,
    channel_axis: SupportsIndex,
    eps: float,
    out: ArrayArgument | None,
) -> Array: ...
def batch_norm_forward(
    x: Any,
    weight: Any,
    bias: Any,
    channel_axis: SupportsIndex,
    eps: float,
    out: Any,
) -> tuple[Any, Any, Any, Any, int]: ...
def batch_norm_backward(
    grad_output: Any,
    x: Any,
    stats: object,
    weight: Any,
    channel_axis: SupportsIndex,
    frozen: bool,
    bias: bool,
    out: Any,
) -> tuple[Any, Any, Any]: ...
def update_running_stats(
    running_mean: Any,
    running_var: Any,
    stats: object,
    momentum: float,
    correction: SupportsIndex,
) -> None: ...
def statistics_beside(other: object, *statistics: _Array) -> tuple[Any, ...]: ...
def stats_from_running(
    running_mean: object, running_var: object, eps: float
) -> tuple[Any, Any, Any]: ...
def dropout(
    function: str,
    argument: str,
    x: Array,
    seed: int,
    call: int,
    threshold: int,
    shared_axes: Axis,
    draw: object | None,
    mask_shape: tuple[int, ...] | None,
    out: ArrayArgument | None,
) -> Array: ...
def noise(
    kind: str,
    single: tuple[float, float, float],
    double: tuple[float, float, float],
    function: str,
    argument: str,
    x: Any,
    seed: int,
    call: int,
    threshold: int,
    shared_axes: Axis,
    draw: object | None,
    mask_shape: tuple[int, ...] | None,
    out: Any,
) -> Any: ...
def dropout_keep(
    seed: int,
    call: int,
    threshold: int,
    first_index: int,
    count: int,
    shape: tuple[int, ...] = (),
    shared_axes: Axis = (),
) -> npt.NDArray[np.uint8]: ...
def shared_axes(function: str, axes: Axis, rank: int) -> tuple[int, ...]: ...
def dropout_scales(threshold: int) -> tuple[float, float]: ...
