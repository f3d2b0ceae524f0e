"""Real images of digits: scikit-learn's, or the four IDX files of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import importlib
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from normdrop.experiments.wording import counted, printable

BinaryFile = gzip.GzipFile | io.BufferedReader
Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
UNSIGNED_BYTE = 0x08  # the third byte of an IDX file names the type of its values
# Twice the largest of the kind, EMNIST's 698,000 images of 28 x 28; as float32 4 times as many.
LARGEST_IDX_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
DIGITS_TEST_IMAGES = 500


class DataError(ValueError):
    """The images cannot be read; the message is one line with the file and what is wrong with it.

    Parameters
    ----------
    path : Path
        The file or folder.
    fault : str
        What is wrong with it.
    """

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{printable(str(path))}: {fault}")


class Dataset(NamedTuple):
    """Flattened images with values from 0 to 1, and their classes.

    Attributes
    ----------
    name : str
        For people to read.
    train_images, test_images : ndarray of float32, shape (N, pixels)
    train_labels, test_labels : ndarray of int64, shape (N,)
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train_labels.max()) + 1


def load_digits(seed: int = 0) -> Dataset:
    """Load the 1,797 handwritten digits of 8 x 8 pixels that come inside scikit-learn.

    Parameters
    ----------
    seed : int
        Decides which 500 of them are kept for the test.
    """
    datasets: Any = importlib.import_module("sklearn.datasets")  # scikit-learn has no types
    images, labels = datasets.load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32)
    labels = labels.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = order[:DIGITS_TEST_IMAGES], order[DIGITS_TEST_IMAGES:]
    return Dataset(
        "scikit-learn's handwritten digits (8 x 8 pixels)",
        images[train],
        labels[train],
        images[test],
        labels[test],
    )


def load_idx_folder(folder: Path) -> Dataset:
    """Load the four files of MNIST or Fashion-MNIST, plain or ending in ``.gz``.

    Parameters
    ----------
    folder : Path
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k`` files.

    Raises
    ------
    DataError
        A file is missing, damaged, or does not fit the others.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    paths = {key: _find(folder, name) for key, name in IDX_FILES.items()}
    train = _images_and_labels(paths["train_images"], paths["train_labels"])
    test = _images_and_labels(paths["test_images"], paths["test_labels"])
    if len(train[1]) < 2:
        raise DataError(paths["train_images"], "must hold 2 images or more, got 1")
    if train[0].shape[1] != test[0].shape[1]:
        raise DataError(
            paths["test_images"],
            f"{test[0].shape[1]} pixels an image, "
            f"but {train[0].shape[1]} in {paths['train_images'].name}",
        )
    if test[1].max() > train[1].max():
        raise DataError(paths["test_labels"], "has classes that the training labels lack")
    return Dataset(f"the IDX files in {printable(folder.resolve().name)}", *train, *test)


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    The format: two zero bytes, the type of the values, the number of dimensions, each dimension
    as a big-endian 32-bit number, then the values. Memory is taken for what the file holds, and
    never for more than its header announces.

    Parameters
    ----------
    path : Path
        Unpacked on the way if it ends in ``.gz``.
    dimensions : int
        How many the array must have.

    Raises
    ------
    DataError
        The file cannot be read, is not such a file, or announces more than 1 GiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _header(path, file, dimensions)
            expected = math.prod(shape)
            if expected == 0:
                raise DataError(path, f"holds no values: its shape is {shape}")
            if expected > LARGEST_IDX_BYTES:
                raise DataError(path, f"announces {shape}, more than {LARGEST_IDX_BYTES} bytes")
            values = _at_most(file, expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(path, f"cannot be read: {_reason(error)}") from error
    if len(values) != expected:
        found = "more" if len(values) > expected else len(values)
        raise DataError(path, f"damaged: {shape} needs {expected} bytes of values, got {found}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _header(path: Path, file: BinaryFile, dimensions: int) -> tuple[int, ...]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(path, "not an IDX file")
    if start[2] != UNSIGNED_BYTE:
        raise DataError(
            path, f"values must be unsigned bytes (type 0x08), got type {start[2]:#04x}"
        )
    if start[3] != dimensions:
        raise DataError(path, f"must have {counted(dimensions, 'dimension')}, got {start[3]}")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(path, "damaged: the header is incomplete")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def _at_most(file: BinaryFile, count: int) -> bytearray:
    """Read ``count`` bytes, or what there is, and never ask for memory that nothing fills."""
    content = bytearray()
    while len(content) < count:
        chunk = file.read(min(CHUNK_BYTES, count - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _reason(error: Exception) -> str:
    # Without the name, which stands in front of it.
    return printable(getattr(error, "strerror", None) or str(error))


def batches(
    dataset: Dataset, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Images, Labels]]:
    """Yield training batches without end, in a new random order for each pass over the images.

    Images left over at the end of a pass are left out of it, so that all batches are full.
    """
    count = len(dataset.train_labels)
    batch_size = min(batch_size, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield dataset.train_images[chosen], dataset.train_labels[chosen]


def _find(folder: Path, name: str) -> Path:
    # Some copies of MNIST spell the names with a dot: train-images.idx3-ubyte.
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if path.is_file():
                return path
    raise DataError(folder, f"{name} is missing (looked for it plain and as .gz)")


def _images_and_labels(image_path: Path, label_path: Path) -> tuple[Images, Labels]:
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if labels.shape != images.shape[:1]:
        raise DataError(
            label_path, f"must hold {len(images)} labels, one an image, got {len(labels)}"
        )
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat /= np.float32(255.0)
    return flat, labels.astype(np.int64)
