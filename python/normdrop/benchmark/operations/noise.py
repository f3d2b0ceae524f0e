"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normdrop.benchmark.operations.record import (
    DROP_PROBABILITY,
    Call,
    Operation,
    Traffic,
)

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

RNG = (2014, 0)
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
    import jax

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
