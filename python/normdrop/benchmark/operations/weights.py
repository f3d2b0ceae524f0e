"""Weight norm and PReLU."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from normdrop.benchmark.operations.gradients import by_autograd
from normdrop.benchmark.operations.record import (
    CHANNEL_LAYOUTS,
    GRAD_OUTPUT,
    WEIGHT,
    Call,
    Geometry,
    Input,
    Operation,
    Set,
    Traffic,
    channels,
)

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

_SLOPE = Input("weight", 0.25, 0.05)


def _units(case: Case) -> int:
    """Count what keeps a norm of its own: the first axis."""
    return case.shape[0]


def _weight_norm(nd: Any, case: Case, d: Any) -> Call:
    if case.direction == "forward":
        return Call(nd.weight_norm, (d.x, d.weight))
    _, norm = nd.weight_norm_forward(d.x, d.weight)
    return Call(nd.weight_norm_backward, (d.grad_output, d.x, d.weight, norm))


def _torch_weight_norm(torch: Any, case: Case, t: Any) -> Call:
    """Take g as PyTorch's layer does: of the rank of v."""
    shape = [_units(case), *(1 for _ in case.shape[1:])]

    def forward(v: Any, g: Any) -> Any:
        return torch._weight_norm(v, g.reshape(shape), 0)

    if case.direction == "forward":
        return Call(forward, (t.x, t.weight))
    return by_autograd(torch, forward, (t.x, t.weight), t.grad_output)


def _unit_geometry(case: Case) -> Geometry:
    """Describe v / norm as x_hat / sqrt(n)."""
    axes = tuple(range(1, len(case.shape)))
    ones = (_units(case), *(1 for _ in axes))
    return Geometry(
        case.shape, axes, axes, ones, centred=False, factor=prod(case.shape[1:]) ** -0.5
    )


def _prelu(nd: Any, case: Case, d: Any) -> Call:
    axis = case.channel_axis
    if case.direction == "forward":
        return Call(lambda x, w, **out: nd.prelu(x, w, channel_axis=axis, **out), (d.x, d.weight))
    return Call(
        lambda g, x, w: nd.prelu_backward(g, x, w, channel_axis=axis),
        (d.grad_output, d.x, d.weight),
    )


def _torch_prelu(torch: Any, case: Case, t: Any) -> Call:
    if case.direction == "forward":
        return Call(torch.nn.functional.prelu, (t.x, t.weight))
    return by_autograd(torch, torch.nn.functional.prelu, (t.x, t.weight), t.grad_output)


WEIGHT_NORM = Operation(
    "weight_norm",
    layouts=("units",),
    ours=_weight_norm,
    traffic={
        "forward": Traffic(("v",), ("w",)),
        "backward": Traffic(("v", "grad_w"), ("grad_v",)),
    },
    inputs=(WEIGHT, GRAD_OUTPUT),
    parameters=_units,
    reduced=lambda case: Set(prod(case.shape[1:]), "a unit's weights"),
    geometry=_unit_geometry,
    judged_by="units",
    peers={"torch": _torch_weight_norm},
    without_out=("backward",),
)

PRELU = Operation(
    "prelu",
    layouts=CHANNEL_LAYOUTS,
    ours=_prelu,
    traffic={
        "forward": Traffic(("x",), ("y",)),
        "backward": Traffic(("x", "grad_output"), ("grad_x",)),
    },
    inputs=(_SLOPE, GRAD_OUTPUT),
    parameters=channels,
    judged_by="channels",
    peers={"torch": _torch_prelu},
    without_out=("backward",),
)
