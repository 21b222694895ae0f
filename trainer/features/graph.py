# SPDX-License-Identifier: Apache-2.0
"""A folded network as a TensorFlow graph: plain operations on constants, in one number format.

The same calls serve a session (extraction) and a traced function (the saved model). Nothing of
Keras is in it, so that every Keras gives the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.arrays import Float32Array
from trainer.config import Precision
from trainer.features.backbones import Network
from trainer.features.folding import Step

if TYPE_CHECKING:
    import tensorflow as tf


class Emitted(NamedTuple):
    """What a network in a graph gives, as tensors."""

    bottlenecks: Any
    """(batch, features) float32: the mean of the map over its cells."""
    map: Any
    """(batch, height, width, features) float32."""


def emit(
    network: Network, steps: Sequence[Step], precision: Precision, pixels: tf.Tensor
) -> Emitted:
    """Add the network to the graph that is being made.

    Args:
        network: For the order of its input's channels.
        steps: The folded network, which ends with a mean.
        precision: Of all arithmetic up to that mean, which is float32.
        pixels: (batch, side, side, 3) uint8, RGB.
    """
    import tensorflow as tf

    operations = _Operations(precision)
    values = {"input": tf.reverse(pixels, [3]) if network.order == "BGR" else pixels}
    for step in steps[:-1]:
        inputs = [values[name] for name in step.layer.inputs or ("input",)]
        values[step.layer.name] = operations.by_kind[step.layer.kind](step, inputs)
    cells = tf.cast(values[steps[-1].layer.inputs[0]], tf.float32)
    return Emitted(tf.reduce_mean(cells, axis=[1, 2]), cells)


class _Operations:
    """What each kind of step becomes in TensorFlow."""

    def __init__(self, precision: Precision) -> None:
        import tensorflow as tf

        self._tf = tf
        self._number = tf.as_dtype(precision)
        self.by_kind: dict[str, Callable[[Step, list[Any]], Any]] = {
            "input": self._input,
            "scale": self._scale,
            "convolution": self._convolution,
            "depthwise": self._convolution,
            "max_pool": self._pool,
            "average_pool": self._pool,
            "pad": self._pad,
            "add": lambda _, inputs: tf.add_n(inputs) if len(inputs) > 2 else inputs[0] + inputs[1],
            "concatenate": lambda _, inputs: tf.concat(inputs, axis=3),
            "relu": lambda _, inputs: tf.nn.relu(inputs[0]),
            "relu6": lambda _, inputs: tf.nn.relu6(inputs[0]),
        }

    def _constant(self, array: Float32Array, number: Any) -> Any:
        """A constant by its bytes: tf.constant would store each 16-bit number in 32 bits."""
        from tensorflow.core.framework.attr_value_pb2 import AttrValue
        from tensorflow.core.framework.tensor_pb2 import TensorProto

        kind = number.as_datatype_enum
        content = array.astype(number.as_numpy_dtype).tobytes()
        tensor = TensorProto(dtype=kind, tensor_content=content)
        for length in array.shape:
            tensor.tensor_shape.dim.add(size=length)
        attributes = {"value": AttrValue(tensor=tensor), "dtype": AttrValue(type=kind)}
        graph = self._tf.compat.v1.get_default_graph()
        return graph.create_op("Const", [], [number], attrs=attributes).outputs[0]

    def _input(self, step: Step, inputs: list[Any]) -> Any:
        return self._tf.cast(inputs[0], self._number)  # 0 to 255 are exact in every format

    def _scale(self, step: Step, inputs: list[Any]) -> Any:
        """Channels times factor plus offset, in float32: pixels, or a lone batch normalisation."""
        tf = self._tf
        factor, offset = (self._constant(part, tf.float32) for part in step.arrays)
        return tf.cast(tf.cast(inputs[0], tf.float32) * factor + offset, self._number)

    def _convolution(self, step: Step, inputs: list[Any]) -> Any:
        nn, layer = self._tf.nn, step.layer
        convolve = nn.depthwise_conv2d if layer.kind == "depthwise" else nn.conv2d
        kernel, *offset = (self._constant(part, self._number) for part in step.arrays)
        result = convolve(
            inputs[0], kernel, strides=[1, *layer.strides, 1], padding=layer.padding.upper()
        )
        return nn.bias_add(result, offset[0]) if offset else result

    def _pool(self, step: Step, inputs: list[Any]) -> Any:
        nn, layer = self._tf.nn, step.layer
        pool = nn.max_pool2d if layer.kind == "max_pool" else nn.avg_pool2d
        return pool(inputs[0], layer.size, layer.strides, layer.padding.upper())

    def _pad(self, step: Step, inputs: list[Any]) -> Any:
        return self._tf.pad(inputs[0], [(0, 0), *step.layer.pad, (0, 0)])
