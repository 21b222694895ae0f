# SPDX-License-Identifier: Apache-2.0
"""The frozen network: Inception-v3 from Keras, cut at its last pooling layer, as one graph.

Versions of Keras and TensorFlow differ here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trainer.arrays import ByteArray, Float32Array
from trainer.config import Backbone
from trainer.features.preprocess import RECIPE, SCALE, SHIFT, SIDE
from trainer.features.weights import Weights, sha256

if TYPE_CHECKING:
    import tensorflow as tf

FEATURES = 2048
LAYER = "avg_pool"
CPU_BATCH, GPU_BATCH = 8, 64


def fingerprint(weights: Weights, precision: str = "float32", view: str = "plain") -> str:
    """SHA-256 over all that decides a bottleneck's value."""
    decisive = {
        "backbone": "inception_v3",
        "layer": LAYER,
        "weights": sha256(weights),
        "preprocessing": RECIPE,
        "precision": precision,
        "view": view,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def batch_size(settings: Backbone, device: str) -> int:
    """Images in one step of the network."""
    if settings.batch_size != "auto":
        return settings.batch_size
    return CPU_BATCH if device == "cpu" else GPU_BATCH


def set_up_tensorflow(threads: int, local_rank: int, device: str) -> str:
    """Tell TensorFlow its cores and its device; once, before anything is computed.

    Args:
        threads: Cores of this rank.
        local_rank: Picks the GPU where all GPUs of the host are visible.
        device: `auto`, or `cpu` to leave GPUs alone.
    Returns:
        The kind of device: the GPU's name, or `cpu`.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    gpus = tf.config.list_physical_devices("GPU") if device == "auto" else []
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
        return "cpu"
    tf.config.experimental.enable_op_determinism()
    mine = gpus[local_rank % len(gpus)]
    tf.config.set_visible_devices(mine, "GPU")
    tf.config.experimental.set_memory_growth(mine, True)
    details = tf.config.experimental.get_device_details(mine)
    return str(details.get("device_name", "gpu"))


class FrozenBackbone:
    """Pixels in, bottlenecks out; TensorFlow is loaded when it is first needed."""

    def __init__(self, weights: Weights, threads: int, local_rank: int, device: str) -> None:
        """Note what the network will be made of; see `set_up_tensorflow` for the rest."""
        self.weights = weights
        self._place = (threads, local_rank, device)

    @cached_property
    def device(self) -> str:
        """The kind of device that computes: a GPU's name, or `cpu`."""
        return set_up_tensorflow(*self._place)

    @cached_property
    def function(self) -> Any:
        """The frozen graph as a function of (batch, 299, 299, 3) uint8 pixels."""
        assert self.device
        return _freeze(_build(self.weights))

    def __call__(self, pixels: ByteArray) -> Float32Array:
        """Compute bottlenecks.

        Args:
            pixels: (batch, 299, 299, 3) uint8, RGB.
        Returns:
            (batch, 2048) float32.
        """
        import tensorflow as tf

        (bottlenecks,) = self.function(tf.constant(pixels))
        result: Float32Array = bottlenecks.numpy()
        return result


def _build(weights: Weights) -> tf.Module:
    """Inception-v3 without its classifier, its weights set in the order of Keras' layers."""
    import tensorflow as tf

    keras = tf.keras
    keras.backend.clear_session()
    model = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    convolutions = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for layer, convolution, norm in zip(weights, convolutions, norms, strict=True):
        convolution.set_weights([layer.kernel])
        norm.set_weights([layer.beta, layer.mean, layer.variance])
    return model


def _freeze(model: tf.Module) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8, name="pixels")])  # type: ignore[untyped-decorator]
    def bottlenecks(pixels: tf.Tensor) -> tf.Tensor:
        return model(tf.cast(pixels, tf.float32) * SCALE + SHIFT, training=False)

    concrete = bottlenecks.get_concrete_function()
    with _without_device_notes():
        return convert_variables_to_constants_v2(concrete)


@contextmanager
def _without_device_notes() -> Iterator[None]:
    """Keep TensorFlow's notes on its search for devices, which no log level stills, to itself.

    What it wrote is shown after all where the work fails.
    """
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
