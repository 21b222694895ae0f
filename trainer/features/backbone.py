# SPDX-License-Identifier: Apache-2.0
"""The frozen network at work: a TensorFlow session over one graph, on this rank's device."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.arrays import ByteArray, Float32Array
from trainer.config import Backbone, Precision
from trainer.features.backbones import NETWORKS, Network
from trainer.features.folding import fold
from trainer.features.graph import Emitted, emit
from trainer.features.preprocess import recipe
from trainer.features.weights import Weights
from trainer.world.devices import Device, unseen_by_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

CPU_BATCH = 4
"""Measured on one core: 1 to 32 images are alike; small ones end together."""
GPU_BATCH_BYTES = 128 << 20
"""GPU memory an image of a batch: generous, since others may use the same GPU."""
MOST_GPU_BATCH = 128

# What is left on: fusing convolutions with what follows them. The rest finds nothing to improve
# in a folded graph, and copies its constants again and again.
UNUSED_OPTIMIZERS = (
    "layout_optimizer",
    "constant_folding",
    "shape_optimization",
    "arithmetic_optimization",
    "dependency_optimization",
    "loop_optimization",
    "function_optimization",
    "debug_stripper",
    "scoped_allocator_optimization",
    "pin_to_host_optimization",
    "implementation_selector",
    "common_subgraph_elimination",
)


def batch_size(settings: Backbone, device: Device) -> int:
    """Images in one step of the network."""
    if settings.batch_size != "auto":
        return settings.batch_size
    if device.ordinal is None:
        return CPU_BATCH
    return max(1, min(MOST_GPU_BATCH, device.memory_bytes // GPU_BATCH_BYTES))


@cache
def set_up_tensorflow(threads: int, device: Device) -> None:
    """Tell TensorFlow its cores and its device, before anything is computed; once is enough.

    Args:
        threads: Cores of this rank.
        device: Where it shall compute.
    Raises:
        UsageError: TensorFlow does not see the GPU.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if device.ordinal is None:
        tf.config.set_visible_devices([], "GPU")
        tf.config.optimizer.set_experimental_options(dict.fromkeys(UNUSED_OPTIMIZERS, False))
        return
    gpus = tf.config.list_physical_devices("GPU")
    if device.ordinal >= len(gpus):
        raise unseen_by_tensorflow(device)
    tf.config.experimental.enable_op_determinism()
    mine = gpus[device.ordinal]
    tf.config.set_visible_devices(mine, "GPU")
    tf.config.experimental.set_memory_growth(mine, True)


class FrozenBackbone:
    """Pixels in, bottlenecks out; TensorFlow is loaded when it is first needed.

    Attributes:
        network: The row of the table.
        cut: The layer that gives the bottleneck.
        weights: May be empty until the first call.
        precision: May be changed until the first call.
    """

    def __init__(
        self,
        network: Network,
        cut: str,
        weights: Weights,
        threads: int,
        device: Device,
        precision: Precision = "float32",
    ) -> None:
        """Note what the network will be made of; see `set_up_tensorflow` for the rest."""
        self.network = network
        self.cut = cut
        self.weights = weights
        self.threads = threads
        self.device = device
        self.precision = precision

    @property
    def features(self) -> int:
        """Numbers in a bottleneck."""
        return self.network.features(self.cut)

    def set_up(self) -> None:
        """Load TensorFlow for this rank's cores and device; before anything else uses it."""
        set_up_tensorflow(self.threads, self.device)

    def at(self, precision: Precision) -> FrozenBackbone:
        """The same network in another number format."""
        return FrozenBackbone(
            self.network, self.cut, self.weights, self.threads, self.device, precision
        )

    def fingerprint(self, weights_sha256: str, view: str = "plain") -> str:
        """SHA-256 over all that decides a bottleneck's value."""
        decisive = {
            "backbone": self.network.name,
            "layer": self.cut,
            "weights": weights_sha256,
            "preprocessing": recipe(self.network),
            "precision": self.precision,
            "view": view,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def emit(self, pixels: tf.Tensor) -> Emitted:
        """Add the network to the graph that is being made.

        Args:
            pixels: (batch, side, side, 3) uint8 tensor, RGB.
        """
        return emit(
            self.network, fold(self.network, self.weights, self.cut), self.precision, pixels
        )

    @property
    def is_running(self) -> bool:
        """Whether this process has the network ready to compute."""
        return "_calls" in self.__dict__

    @cached_property
    def _calls(self) -> Emitted:
        """A session's calls: it starts faster, and holds the weights fewer times, than a function.

        Source: TensorFlow's ConfigProto and RewriterConfig messages.
        """
        import tensorflow as tf

        self.set_up()
        side = self.network.side
        with tf.Graph().as_default() as graph:
            pixels = tf.compat.v1.placeholder(tf.uint8, [None, side, side, 3])
            emitted = self.emit(pixels)
        session = tf.compat.v1.Session(graph=graph, config=self._session_settings())
        return Emitted(*(session.make_callable(tensor, [pixels]) for tensor in emitted))

    def _session_settings(self) -> Any:
        from tensorflow.core.protobuf.config_pb2 import ConfigProto, OptimizerOptions
        from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

        settings = ConfigProto(
            intra_op_parallelism_threads=self.threads, inter_op_parallelism_threads=1
        )
        settings.gpu_options.allow_growth = True
        if self.device.ordinal is not None:
            settings.gpu_options.visible_device_list = str(self.device.ordinal)
            return settings
        settings.graph_options.optimizer_options.opt_level = OptimizerOptions.L0
        rewriting = settings.graph_options.rewrite_options
        for name in UNUSED_OPTIMIZERS:
            setattr(rewriting, name, RewriterConfig.OFF)
        rewriting.memory_optimization = RewriterConfig.NO_MEM_OPT
        rewriting.meta_optimizer_iterations = RewriterConfig.ONE
        return settings

    def warm_up(self, size: int) -> None:
        """Make the first pass, which lays out the weights, over an empty batch of this size."""
        empty = np.zeros((size, self.network.side, self.network.side, 3), np.uint8)
        with _without_notes():
            self(empty)

    def __call__(self, pixels: ByteArray) -> Float32Array:
        """Compute bottlenecks.

        Args:
            pixels: (batch, side, side, 3) uint8, RGB.
        Returns:
            (batch, features) float32.
        """
        rows: Float32Array = self._calls.bottlenecks(pixels)
        return rows

    def maps(self, pixels: ByteArray) -> Float32Array:
        """Compute what bottlenecks are the mean of.

        Args:
            pixels: (batch, side, side, 3) uint8, RGB.
        Returns:
            (batch, height, width, features) float32.
        """
        cells: Float32Array = self._calls.map(pixels)
        return cells


def of_settings(settings: Backbone, threads: int, device: Device) -> FrozenBackbone:
    """The network that a configuration names, its weights still to be read.

    Raises:
        UsageError: It has no such layer.
    """
    network = NETWORKS[settings.name]
    return FrozenBackbone(network, network.cut_at(settings.layer), {}, threads, device)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Keep TensorFlow's notes on its passes and devices, which no log level stills, to itself.

    What it wrote is shown after all where the work fails.
    """
    shown = os.dup(2)
    with os.fdopen(os.memfd_create("notes"), "r+b") as kept:
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
