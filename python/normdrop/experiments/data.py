"""Real images of digits: scikit-learn's, or the four IDX files of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
UNSIGNED_BYTE = 0x08  # the third byte of an IDX file names the type of its values
DIGITS_TEST_IMAGES = 500


class DataError(ValueError):
    """The images cannot be read; the message names the file and what is wrong with it."""


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
        raise DataError(f"{folder}: no such folder")
    paths = {key: _find(folder, name) for key, name in IDX_FILES.items()}
    train = _images_and_labels(paths["train_images"], paths["train_labels"])
    test = _images_and_labels(paths["test_images"], paths["test_labels"])
    if train[0].shape[1] != test[0].shape[1]:
        raise DataError(
            f"{paths['test_images']}: {test[0].shape[1]} pixels an image, "
            f"but {train[0].shape[1]} in {paths['train_images'].name}"
        )
    if test[1].max() > train[1].max():
        raise DataError(f"{paths['test_labels']}: has classes that the training labels lack")
    return Dataset(f"the IDX files in {folder.resolve().name}", *train, *test)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    The format: two zero bytes, the type of the values, the number of dimensions, each dimension
    as a big-endian 32-bit number, then the values.

    Raises
    ------
    DataError
        The file cannot be read, or is not such a file.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file")
    if content[2] != UNSIGNED_BYTE:
        raise DataError(
            f"{path}: values must be unsigned bytes (type 0x08), got type {content[2]:#04x}"
        )
    header = 4 + 4 * content[3]
    if content[3] == 0 or len(content) < header:
        raise DataError(f"{path}: damaged: the header is incomplete")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise DataError(
            f"{path}: damaged: {shape} needs {expected} bytes of values, "
            f"got {len(content) - header}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


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
    raise DataError(f"{folder}: {name} is missing (looked for it plain and as .gz)")


def _content(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return bytes(file.read())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _images_and_labels(image_path: Path, label_path: Path) -> tuple[Images, Labels]:
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim != 3 or images.size == 0:
        raise DataError(
            f"{image_path}: must hold images (count, rows, columns), got {images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{label_path}: must hold {len(images)} labels, one an image, got {labels.shape}"
        )
    flat = images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)
    return flat, labels.astype(np.int64)
