"""Train a network with batch norm and dropout on handwritten digits, in NumPy alone.

Run it with ``python examples/train_digits.py``; it needs ``pip install 'normdrop[demo]'``.
"""

from __future__ import annotations

import numpy as np

from normdrop.experiments.data import batches, load_digits
from normdrop.experiments.network import (
    Linear,
    MomentumSGD,
    ReLU,
    Sequential,
    accuracy,
    softmax_cross_entropy,
)
from normdrop.layers import BatchNorm, Dropout

rng = np.random.default_rng(0)
digits = load_digits()
network = Sequential(
    Linear(64, 100, rng, bias=False),  # the batch norm after it would take a bias out again
    BatchNorm(100),
    ReLU(),
    Dropout(0.2, rng=rng),
    Linear(100, 10, rng),
)
optimiser = MomentumSGD(network, learning_rate=0.1)

for step, (images, labels) in enumerate(batches(digits, 60, rng)):
    loss, grad_logits = softmax_cross_entropy(network(images, training=True), labels)
    network.backward(grad_logits)
    optimiser.step()
    if step % 100 == 0:
        logits = network(digits.test_images, training=False)
        print(f"step {step:3}  loss {loss:.3f}  test {accuracy(logits, digits.test_labels):.1%}")
    if step == 400:
        break
