# SPDX-License-Identifier: Apache-2.0
"""The saved model: all that `predict` needs, with data and cache gone."""

from __future__ import annotations

import errno
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import Array, FloatArray
from trainer.errors import DataError, listed
from trainer.features.backbone import FrozenBackbone
from trainer.rundir import sha256_of, write_bytes, write_error, write_folder, write_into

HEAD, LABELS, ABOUT, CARD = "head.npz", "labels.txt", "about.json", "README.md"
NEIGHBOURS = "neighbours.npz"
HASHES = "sha256.json"
"""{"files": {path: SHA-256}}: a model is of use alone, and is then checked by this."""


@dataclass
class About:
    """What a saved model is, for people and for `predict`.

    Attributes:
        name: The run's name.
        classes: Names, in the order of the probabilities.
        features: Numbers in a bottleneck.
        backbone: The network that is in it; empty: it labels retrain.py's bottleneck texts.
        weights_note: Empty, or that the backbone is not pretrained.
        batch_size: Images in one step of the network.
    """

    name: str
    classes: list[str]
    features: int
    backbone: str
    weights_note: str
    batch_size: int


def save_model(
    folder: Path,
    head: tuple[FloatArray, FloatArray],
    about: About,
    network: FrozenBackbone | None,
    neighbours: Mapping[str, Array],
    card: str,
) -> None:
    """Write `model/`, whole or not at all.

    Args:
        folder: Where to.
        head: W (features, classes) and b (classes,).
        about: What it is.
        network: The backbone; None for a head on bottleneck texts alone.
        neighbours: What `neighbours.npz` holds.
        card: What `README.md` says.
    """
    files = {
        HEAD: packed({"W": head[0], "b": head[1]}),
        NEIGHBOURS: packed(neighbours),
        LABELS: "".join(f"{one_line(name)}\n" for name in about.classes).encode(),
        ABOUT: f"{json.dumps(asdict(about), indent=2)}\n".encode("ascii"),
        CARD: card.encode(),
    }

    def fill(path: Path) -> None:
        if network is not None:
            _save_network(path, folder, head, network)
        for name, content in files.items():
            write_into(path, folder, name, content)
        write_into(path, folder, HASHES, _sealed(path))

    write_folder(folder, fill)


def packed(arrays: Mapping[str, Array]) -> bytes:
    """Arrays as numpy's npz, without pickles."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _sealed(folder: Path) -> bytes:
    return json.dumps({"files": _hashes(folder)}, indent=2).encode()


def seal(folder: Path) -> None:
    """Take a model's files as they are now for what was saved.

    Raises:
        RetrainError: The list of them cannot be written.
    """
    write_bytes(folder / HASHES, _sealed(folder))


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model but of the list of them, by path."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / HASHES
    }


def require_undamaged(folder: Path) -> None:
    """Refuse a saved model that is not as it was saved; what was put beside it does not count.

    Raises:
        DataError: There is no such model, or some of its files were changed.
    """
    try:
        saved = dict(json.loads((folder / HASHES).read_bytes())["files"])
        found = _hashes(folder)
    except FileNotFoundError:
        raise _no_model(folder) from None
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        saved, found = {HASHES: ""}, {}
    if changed := sorted(name for name in saved if found.get(name) != saved[name]):
        raise DataError(
            f"{folder}: changed since it was saved: {listed(changed)}.",
            "Start the same `retrain run` again; it makes anew what is damaged.",
        )


def _no_model(folder: Path) -> DataError:
    return DataError(
        f"{folder}: no saved model.",
        "Give the folder of a finished run, such as runs/NAME, that `retrain run` named.",
    )


def one_line(name: str) -> str:
    """A class name as it is, or escaped where it holds line ends or bytes that are no text."""
    return name if name.isprintable() else json.dumps(name)[1:-1]


def _save_network(
    path: Path, folder: Path, head: tuple[FloatArray, FloatArray], network: FrozenBackbone
) -> None:
    """A SavedModel of a plain tf.Module, which Keras 2 and 3, and plain TensorFlow, all read.

    Args:
        path: Where to.
        folder: What that will be called.
        head: W and b.
        network: The backbone.
    Raises:
        RetrainError: It cannot be written.
    """
    import tensorflow as tf

    matrix, bias = (tf.constant(part, tf.float64) for part in head)
    side = network.network.side

    class Retrained(tf.Module):  # type: ignore[misc]
        """(batch, side, side, 3) uint8 pixels to bottlenecks, logits, probabilities, evidence.

        The evidence (batch, height, width, classes) is what each cell of the network's grid says
        for each class: its mean plus the bias are the logits.
        """

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec([None, side, side, 3], tf.uint8, name="pixels")],
            autograph=False,  # there is no control flow on tensors to translate
        )
        def __call__(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            emitted = network.emit(pixels)
            logits = tf.matmul(tf.cast(emitted.bottlenecks, tf.float64), matrix) + bias
            return {
                "bottlenecks": emitted.bottlenecks,
                "logits": logits,
                "probabilities": tf.nn.softmax(logits),
                "evidence": tf.tensordot(emitted.map, tf.cast(matrix, tf.float32), 1),
            }

    module = Retrained()
    try:
        tf.saved_model.save(module, str(path), signatures=module.__call__)
    except tf.errors.OpError as error:
        # TensorFlow's own kind, whose texts are like "PATH; No space left on device [Op:SaveV2]".
        size = module.__call__.get_concrete_function().graph.as_graph_def().ByteSize()
        full = isinstance(error, tf.errors.ResourceExhaustedError)
        reason = error.message.rpartition("; ")[2].partition(" [")[0]
        known = OSError(errno.ENOSPC if full else errno.EIO, reason)
        raise write_error(folder, size, known) from None


def read_about(folder: Path) -> About:
    """Read what a saved model is.

    Raises:
        DataError: There is no such model.
    """
    try:
        fields: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="ascii"))
        return About(**fields)
    except (OSError, ValueError, TypeError):
        raise _no_model(folder) from None


def read_head(folder: Path) -> tuple[FloatArray, FloatArray]:
    """Read W (features, classes) and b (classes,).

    Raises:
        DataError: The file is missing or broken.
    """
    arrays = read_arrays(folder, HEAD, ("W", "b"))
    return arrays["W"], arrays["b"]


def read_arrays(folder: Path, name: str, wanted: Sequence[str]) -> dict[str, Array]:
    """Read arrays of a saved model's file.

    Raises:
        DataError: The file is missing or broken, or lacks one.
    """
    try:
        with np.load(folder / name, allow_pickle=False) as arrays:
            return {one: arrays[one] for one in wanted}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise DataError(
            f"{folder / name}: cannot be read.", "Start the same `retrain run` again to mend it."
        ) from None
