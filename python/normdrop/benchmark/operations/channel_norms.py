"""Batch norm, group norm and instance norm."""

from __future__ import annotations

from math import gcd, prod
from typing import TYPE_CHECKING, Any

from normdrop.benchmark.operations.formulas import norm
from normdrop.benchmark.operations.gradients import by_autograd
from normdrop.benchmark.operations.record import (
    BIAS,
    CHANNEL_LAYOUTS,
    EPS,
    GRAD_OUTPUT,
    WEIGHT,
    Call,
    Input,
    OnnxNode,
    Operation,
    Set,
    Traffic,
    channel,
    channel_geometry,
    channels,
    group_geometry,
)
from normdrop.benchmark.operations.rows import NORM_TRAFFIC

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

_MOST_GROUPS = 32
_RUNNING_MEAN = Input("running_mean", 0.5, 0.1, single=True, directions=("inference",))
_RUNNING_VAR = Input(
    "running_var", 2.25, 0.2, positive=True, single=True, directions=("inference",)
)


def groups_of(case: Case) -> int:
    """Choose 32 groups, or as many as divide the channels."""
    return gcd(_MOST_GROUPS, channels(case))


def _batch_norm(nd: Any, case: Case, d: Any) -> Call:
    def with_axis(function: Any) -> Any:
        return lambda *arrays, **out: function(*arrays, channel_axis=case.channel_axis, **out)

    if case.direction == "inference":
        arguments = (d.x, d.running_mean, d.running_var, d.weight, d.bias)
        return Call(with_axis(nd.batch_norm), arguments)
    forward = with_axis(nd.batch_norm_forward)
    if case.direction == "forward":
        return Call(forward, (d.x, d.weight, d.bias))
    _, stats = forward(d.x, d.weight, d.bias)
    return Call(with_axis(nd.batch_norm_backward), (d.grad_output, d.x, stats, d.weight))


def _torch_batch_norm(torch: Any, case: Case, t: Any) -> Call:
    aten, batch_norm = torch.ops.aten, torch.nn.functional.batch_norm
    if case.direction == "inference":
        # A model in a half type has its running statistics in it, too.
        running = (array.to(t.weight.dtype) for array in (t.running_mean, t.running_var))
        arguments = (t.x, *running, t.weight, t.bias)
        return Call(lambda x, m, v, w, b: batch_norm(x, m, v, w, b, False, 0.1, EPS), arguments)
    parameters = (t.weight, t.bias)
    if case.direction == "forward":
        train = lambda x, w, b: batch_norm(x, None, None, w, b, True, 0.1, EPS)  # noqa: E731
        return Call(train, (t.x, *parameters))
    _, mean, inv_std = aten.native_batch_norm(t.x, *parameters, None, None, True, 0.1, EPS)
    backward, wanted = aten.native_batch_norm_backward, [True, True, True]
    return Call(
        lambda g, x, w, m, s: backward(g, x, w, None, None, m, s, True, EPS, wanted),
        (t.grad_output, t.x, t.weight, mean, inv_std),
    )


def _torch_batch_norm_on_device(torch: Any, case: Case, t: Any) -> Call:
    """Backward as autograd does it, so that cuDNN is used where autograd uses it."""
    if case.direction != "backward":
        return _torch_batch_norm(torch, case, t)
    aten, arguments = torch.ops.aten, (t.x, t.weight, t.bias)
    forward = aten._batch_norm_impl_index(*arguments, None, None, True, 0.1, EPS, True)
    _, mean, inv_std, reserve, kind = forward
    backward, wanted = aten._batch_norm_impl_index_backward, [True, True, True]
    return Call(
        lambda g, x, w, m, s: backward(kind, x, g, w, None, None, m, s, True, EPS, wanted, reserve),
        (t.grad_output, t.x, t.weight, mean, inv_std),
    )


def _group_norm(nd: Any, case: Case, d: Any) -> Call:
    groups, axis = groups_of(case), case.channel_axis
    if case.direction == "forward":
        return Call(
            lambda x, w, b, **out: nd.group_norm(x, groups, w, b, channel_axis=axis, **out),
            (d.x, d.weight, d.bias),
        )
    _, stats = nd.group_norm_forward(d.x, groups, d.weight, d.bias, channel_axis=axis)
    return Call(
        lambda g, x, s, w, **out: nd.group_norm_backward(
            g, x, s, groups, w, channel_axis=axis, **out
        ),
        (d.grad_output, d.x, stats, d.weight),
    )


def _torch_group_norm(torch: Any, case: Case, t: Any) -> Call:
    groups, aten, arguments = groups_of(case), torch.ops.aten, (t.x, t.weight, t.bias)

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        return torch.nn.functional.group_norm(x, groups, weight, bias, EPS)

    if case.direction == "forward":
        return Call(forward, arguments)
    if case.layout == "nhwc":  # autograd makes a contiguous copy where its function wants one
        return by_autograd(torch, forward, arguments, t.grad_output)
    sizes = (case.shape[0], channels(case), prod(case.shape[2:]), groups)
    _, mean, inv_std = aten.native_group_norm(*arguments, *sizes, EPS)
    backward, wanted = aten.native_group_norm_backward, [True, True, True]
    return Call(
        lambda g, x, m, s, w: backward(g, x, m, s, w, *sizes, wanted),
        (t.grad_output, t.x, mean, inv_std, t.weight),
    )


def _instance_norm(nd: Any, case: Case, d: Any) -> Call:
    axis = case.channel_axis
    if case.direction == "forward":
        return Call(
            lambda x, w, b, **out: nd.instance_norm(x, w, b, channel_axis=axis, **out),
            (d.x, d.weight, d.bias),
        )
    _, stats = nd.instance_norm_forward(d.x, d.weight, d.bias, channel_axis=axis)
    return Call(
        lambda g, x, s, w, **out: nd.instance_norm_backward(g, x, s, w, channel_axis=axis, **out),
        (d.grad_output, d.x, stats, d.weight),
    )


def _torch_instance_norm(torch: Any, case: Case, t: Any) -> Call:
    instance_norm = torch.nn.functional.instance_norm

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        return instance_norm(x, None, None, weight, bias, True, 0.1, EPS)

    arguments = (t.x, t.weight, t.bias)
    if case.direction == "forward":
        return Call(forward, arguments)
    return by_autograd(torch, forward, arguments, t.grad_output)


def _group(case: Case) -> Set:
    values = prod(case.shape[1:])
    if case.layout == "nhwc":  # every cache line of a sample holds all groups, or many
        return Set(values, "a sample")
    return Set(values // groups_of(case), "a group")


def _channel_of_sample(case: Case) -> Set:
    whole = channel(case)
    return Set(whole.values // case.shape[0], f"{whole.name} of a sample")


_in_groups = group_geometry(groups_of)
_in_channels = group_geometry(channels)

BATCH_NORM = Operation(
    "batch_norm",
    layouts=CHANNEL_LAYOUTS,
    ours=_batch_norm,
    traffic={**NORM_TRAFFIC, "inference": Traffic(("x",), ("y",))},
    inputs=(WEIGHT, BIAS, GRAD_OUTPUT, _RUNNING_MEAN, _RUNNING_VAR),
    parameters=channels,
    reduced=channel,
    peers={
        "torch": _torch_batch_norm,
        "torch_on_device": _torch_batch_norm_on_device,
        "numpy": norm(channel_geometry),
        "jax": norm(channel_geometry),
    },
    onnx={
        "inference": OnnxNode(
            "BatchNormalization", ("weight", "bias", "running_mean", "running_var"), {}
        )
    },
    fewest_values=2,
    geometry=channel_geometry,
    judged_by="channels",
    parameters_of_x=False,
)

GROUP_NORM = Operation(
    "group_norm",
    layouts=("nchw", "nhwc"),
    ours=_group_norm,
    traffic=NORM_TRAFFIC,
    inputs=(WEIGHT, BIAS, GRAD_OUTPUT),
    parameters=channels,
    reduced=_group,
    peers={
        "torch": _torch_group_norm,
        "numpy": norm(_in_groups),
        "jax": norm(_in_groups),
    },
    geometry=_in_groups,
    judged_by="samples",
    fewest_values=2,
)

INSTANCE_NORM = Operation(
    "instance_norm",
    layouts=("nchw", "nhwc"),
    ours=_instance_norm,
    traffic=NORM_TRAFFIC,
    inputs=(WEIGHT, BIAS, GRAD_OUTPUT),
    parameters=channels,
    reduced=_channel_of_sample,
    peers={
        "torch": _torch_instance_norm,
        "numpy": norm(_in_channels),
        "jax": norm(_in_channels),
    },
    geometry=_in_channels,
    judged_by="samples",
    fewest_values=2,
)
