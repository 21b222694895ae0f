# SPDX-License-Identifier: Apache-2.0
"""Makes the network once, in the form that each peer reads, so that none pays for it at its start.

    python prepare.py WEIGHTS

WEIGHTS.weights.h5 is Inception-v3 with seeded random weights, as Keras saves it; beside it lie the
frozen graph and, where OpenVINO is installed, its own form of the network.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from peer import SIDE, converted_of, frozen_of

SEED = 5


def network() -> Any:
    """Inception-v3 without its classifier, its weights still as Keras draws them."""
    from tensorflow import keras

    return keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )


def draw(model: Any) -> None:
    """Draw weights under which signals keep their size, and a normalisation that does something.

    Source: He et al. 2015, Delving Deep into Rectifiers, section 2.2.
    """
    import numpy as np

    generator = np.random.default_rng(SEED)
    for layer in model.layers:
        if type(layer).__name__ == "Conv2D":
            shape = layer.kernel.shape
            spread = np.sqrt(2 / np.prod(shape[:3]))
            layer.set_weights([spread * generator.standard_normal(shape)])
        elif type(layer).__name__ == "BatchNormalization":
            features = layer.beta.shape
            mean, beta = 0.05 * generator.standard_normal((2, *features))
            layer.set_weights([beta, mean, generator.uniform(0.8, 1.25, features)])


def freeze(model: Any, path: Path) -> None:
    """Write the graph with its weights as constants: pixels from -1 to 1 in, bottlenecks out."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], name="pixels")])  # type: ignore[untyped-decorator]
    def bottlenecks(pixels: Any) -> Any:
        return tf.identity(model(pixels, training=False), name="bottlenecks")

    graph = convert_variables_to_constants_v2(bottlenecks.get_concrete_function()).graph
    path.write_bytes(graph.as_graph_def().SerializeToString())


def convert(model: Any, path: Path) -> None:
    """Write the network as OpenVINO reads it, in float32, its normalisation of pixels included."""
    import openvino as ov
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        signature = [tf.TensorSpec([None, SIDE, SIDE, 3], name="pixels")]
        model.export(folder, verbose=False, input_signature=signature)
        converted = ov.Core().read_model(folder)
        steps = ov.preprocess.PrePostProcessor(converted)
        pixels = steps.input()
        pixels.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        pixels.model().set_layout(ov.Layout("NHWC"))
        pixels.preprocess().convert_element_type(ov.Type.f32).mean(127.5).scale(127.5)
        ov.save_model(steps.build(), path, compress_to_fp16=False)


def main(weights: Path) -> None:
    """Make what is not there yet."""
    model = network()
    draw(model)
    freeze(model, frozen_of(weights))
    if importlib.util.find_spec("openvino"):
        convert(model, converted_of(weights))
    model.save_weights(weights)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
