"""Dropout and its family: noise that multiplies."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from normdrop.benchmark.operations.gradients import by_autograd
from normdrop.benchmark.operations.record import (
    DROP_PROBABILITY,
    Builder,
    Call,
    Operation,
    Traffic,
)

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

RNG = (2014, 0)
BETA = 0.1
SCALE = 1 / (1 - DROP_PROBABILITY)


def _dropout(nd: Any, case: Case, d: Any) -> Call:
    if case.direction == "forward":
        return Call(lambda x, **out: nd.dropout(x, DROP_PROBABILITY, rng=RNG, **out), (d.x,))
    _, mask = nd.dropout_forward(d.x, DROP_PROBABILITY, rng=RNG)
    return Call(nd.dropout_backward, (d.grad_output, mask), lambda: mask.keep)


def _torch_dropout(torch: Any, case: Case, t: Any) -> Call:
    if case.direction == "forward":
        dropout = torch.nn.functional.dropout
        return Call(lambda x: dropout(x, DROP_PROBABILITY, training=True), (t.x,))
    _, mask = torch.ops.aten.native_dropout(t.x, DROP_PROBABILITY, True)
    backward = torch.ops.aten.native_dropout_backward
    return Call(
        lambda g, m: backward(g, m, SCALE), (t.grad_output, mask), lambda: mask.cpu().numpy()
    )


def _numpy_dropout(np: Any, case: Case, d: Any) -> Call:
    generator, scale = np.random.default_rng(RNG[0]), d.x.dtype.type(SCALE)

    def draw() -> Any:
        return generator.random(d.x.shape, dtype=np.float32) >= DROP_PROBABILITY

    if case.direction == "forward":
        return Call(lambda x: x * draw() * scale, (d.x,))
    keep = draw()
    return Call(lambda g, keep: g * keep * scale, (d.grad_output, keep), lambda: keep)


def _jax_dropout(jnp: Any, case: Case, d: Any) -> Call:
    jax = importlib.import_module("jax")
    key, scale = jax.random.key(RNG[0]), d.x.dtype.type(SCALE)
    # A float32 probability: a Python number would draw float64 uniforms.
    keep_probability = jnp.float32(1 - DROP_PROBABILITY)

    def forward(key: Any, x: Any) -> Any:
        keep = jax.random.bernoulli(key, keep_probability, x.shape)
        return jnp.where(keep, x * scale, 0)

    if case.direction == "forward":
        return Call(forward, (key, d.x))
    keep = jax.random.bernoulli(key, keep_probability, d.x.shape)
    return Call(lambda keep, g: jnp.where(keep, g * scale, 0), (keep, d.grad_output), lambda: keep)


def _family(name: str, level: float, **fixed: Any) -> Builder:
    """Return the builder of one of our functions ``name(x, level, rng=, **fixed)``."""

    def build(nd: Any, case: Case, d: Any) -> Call:
        if case.direction == "forward":
            forward = getattr(nd, name)
            return Call(lambda x, **out: forward(x, level, rng=RNG, **fixed, **out), (d.x,))
        _, mask = getattr(nd, f"{name}_forward")(d.x, level, rng=RNG, **fixed)
        return Call(getattr(nd, f"{name}_backward"), (d.grad_output, mask))

    return build


def _shared(axes: Callable[[Case], tuple[int, ...]]) -> Builder:
    """Return the builder of a dropout with one draw for all elements along some axes."""

    def build(nd: Any, case: Case, d: Any) -> Call:
        return _family("dropout", DROP_PROBABILITY, shared_axes=axes(case))(nd, case, d)

    return build


def _image_axes(case: Case) -> tuple[int, ...]:
    first = 1 if case.layout == "nhwc" else 2
    return tuple(range(first, first + len(case.shape) - 2))


def _composed(function: Callable[[Any, Case, Any], Any]) -> Builder:
    """Return the builder of what PyTorch's users write; the backward pass is autograd's."""

    def build(torch: Any, case: Case, t: Any) -> Call:
        def forward(x: Any) -> Any:
            return function(torch, case, x)

        if case.direction == "forward":
            return Call(forward, (t.x,))
        return by_autograd(torch, forward, (t.x,), t.grad_output)

    return build


def _torch_alpha(torch: Any, case: Case, x: Any) -> Any:
    return torch.nn.functional.alpha_dropout(x, DROP_PROBABILITY, training=True)


def _torch_gaussian(torch: Any, case: Case, x: Any) -> Any:
    deviation = (DROP_PROBABILITY / (1 - DROP_PROBABILITY)) ** 0.5
    return x * torch.empty_like(x).normal_(1, deviation)


def _torch_uniform(torch: Any, case: Case, x: Any) -> Any:
    return x * torch.empty_like(x).uniform_(1 - BETA, 1 + BETA)


def _torch_spatial(torch: Any, case: Case, x: Any) -> Any:
    return torch.feature_dropout(x, DROP_PROBABILITY, True)


def _torch_drop_path(torch: Any, case: Case, x: Any) -> Any:
    draws = x.new_empty((len(x), *(1 for _ in case.shape[1:])))
    return x * draws.bernoulli_(1 - DROP_PROBABILITY).div_(1 - DROP_PROBABILITY)


DROPOUT = Operation(
    "dropout",
    layouts=("flat",),
    ours=_dropout,
    traffic={
        "forward": Traffic(("x",), ("result",)),
        "backward": Traffic(("grad_output",), ("result",)),
    },
    judged_by="mask",
    peers={"torch": _torch_dropout, "numpy": _numpy_dropout, "jax": _jax_dropout},
)

_NOT_JUDGED = tuple(
    Operation(name, layouts=layouts, ours=ours, traffic=DROPOUT.traffic, peers={"torch": theirs})
    for name, layouts, ours, theirs in (
        (
            "alpha_dropout",
            ("flat",),
            _family("alpha_dropout", DROP_PROBABILITY),
            _composed(_torch_alpha),
        ),
        (
            "gaussian_dropout",
            ("flat",),
            _family("gaussian_dropout", DROP_PROBABILITY),
            _composed(_torch_gaussian),
        ),
        ("uniform_dropout", ("flat",), _family("uniform_dropout", BETA), _composed(_torch_uniform)),
        ("spatial_dropout", ("nchw", "nhwc"), _shared(_image_axes), _composed(_torch_spatial)),
        (
            "drop_path",
            ("nchw",),
            _shared(lambda case: tuple(range(1, len(case.shape)))),
            _composed(_torch_drop_path),
        ),
    )
)

FAMILY: tuple[Operation, ...] = (DROPOUT, *_NOT_JUDGED)
