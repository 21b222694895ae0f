# SPDX-License-Identifier: Apache-2.0
"""The saved model: all that `predict` needs, with data and cache gone."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import FloatArray
from trainer.errors import DataError
from trainer.features.backbone import FrozenBackbone
from trainer.features.preprocess import recipe
from trainer.rundir import write_folder

HEAD, LABELS, ABOUT, CARD = "head.npz", "labels.txt", "about.json", "README.md"


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
    accuracy: str,
) -> None:
    """Write `model/`, whole or not at all.

    Args:
        folder: Where to.
        head: W (features, classes) and b (classes,).
        about: What it is.
        network: The backbone; None for a head on bottleneck texts alone.
        accuracy: A sentence for the model card.
    """

    def fill(path: Path) -> None:
        if network is not None:
            _save_network(path, head, network)
        packed = io.BytesIO()
        np.savez(packed, W=head[0], b=head[1])
        (path / HEAD).write_bytes(packed.getvalue())
        lines = "".join(f"{_one_line(name)}\n" for name in about.classes)
        (path / LABELS).write_text(lines, encoding="utf-8")
        (path / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="ascii")
        (path / CARD).write_text(_card(about, accuracy, network), encoding="utf-8")

    write_folder(folder, fill)


def _one_line(name: str) -> str:
    """A class name as it is, or escaped where it holds line ends or bytes that are no text."""
    return name if name.isprintable() else json.dumps(name)[1:-1]


def _save_network(path: Path, head: tuple[FloatArray, FloatArray], network: FrozenBackbone) -> None:
    """A SavedModel of a plain tf.Module, which Keras 2 and 3, and plain TensorFlow, all read."""
    import tensorflow as tf

    matrix, bias = (tf.constant(part, tf.float64) for part in head)
    side = network.network.side

    class Retrained(tf.Module):  # type: ignore[misc]
        """(batch, side, side, 3) uint8 pixels to bottlenecks, logits and probabilities."""

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec([None, side, side, 3], tf.uint8, name="pixels")],
            autograph=False,  # there is no control flow on tensors to translate
        )
        def __call__(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            bottlenecks = network.emit(pixels)
            logits = tf.matmul(tf.cast(bottlenecks, tf.float64), matrix) + bias
            return {
                "bottlenecks": bottlenecks,
                "logits": logits,
                "probabilities": tf.nn.softmax(logits),
            }

    module = Retrained()
    tf.saved_model.save(module, str(path), signatures=module.__call__)


def _card(about: About, accuracy: str, network: FrozenBackbone | None) -> str:
    kind = "A softmax layer on bottlenecks that retrain.py made; the network is not in it."
    if network is not None:
        row = network.network
        kind = (
            f"{row.title} up to its layer `{network.cut}` in {network.precision}, then a softmax\n"
            f"layer. Input: {recipe(row)}."
        )
    note = about.weights_note
    limits = f"\n**{note[:1].upper()}{note[1:]}.**\n" if note else ""
    names = ", ".join(f"`{_one_line(name)}`" for name in about.classes)
    return (
        f"# {_one_line(about.name)}\n\n{kind}\n{limits}\n{accuracy}\n\nClasses: {names}.\n\n"
        "It knows these classes only, and says one of them for any picture. It was scored on\n"
        "pictures like those it was trained on; expect less on others.\n"
    )


def read_about(folder: Path) -> About:
    """Read what a saved model is.

    Raises:
        DataError: There is no such model.
    """
    try:
        fields: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="ascii"))
        return About(**fields)
    except (OSError, ValueError, TypeError):
        raise DataError(
            f"{folder}: no saved model.",
            "Give the folder of a finished run, such as runs/NAME, that `retrain run` named.",
        ) from None


def read_head(folder: Path) -> tuple[FloatArray, FloatArray]:
    """Read W (features, classes) and b (classes,).

    Raises:
        DataError: The file is missing or broken.
    """
    try:
        with np.load(folder / HEAD, allow_pickle=False) as arrays:
            return arrays["W"], arrays["b"]
    except (OSError, ValueError, KeyError):
        raise DataError(
            f"{folder / HEAD}: cannot be read.", "Start the same `retrain run` again to mend it."
        ) from None
