# SPDX-License-Identifier: Apache-2.0
"""OpenVINO as a user who knows it well would use it: many requests at once, decoding beside them.

python openvino_async.py IMAGES WEIGHTS OUT [--precision bf16|f32] [--batch N] [--streams N]
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from peer import SIDE, Pixels, Rows, arguments, converted_of, cores, decoded, report

AHEAD = 8
"""Batches that may wait decoded for each core: bounded, and enough that none has to wait."""


def compiled(path: Path, precision: str, batch: int, streams: str) -> Any:
    """The network for this processor, tuned for throughput."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    model.reshape([batch, SIDE, SIDE, 3])
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": cores(),
    }
    return core.compile_model(
        model, "CPU", settings | ({"NUM_STREAMS": streams} if streams else {})
    )


def stacked(files: list[Path], batch: int) -> Pixels:
    """A batch of decoded files, filled up with black."""
    pixels = np.zeros((batch, SIDE, SIDE, 3), np.uint8)
    for place, path in zip(pixels, files, strict=False):
        place[:] = decoded(path)
    return pixels


def ahead(files: list[Path], batch: int) -> Iterator[tuple[int, Pixels]]:
    """First numbers and pixels of all batches, decoded by as many threads as there are cores."""
    waiting: deque[tuple[int, Future[Pixels]]] = deque()
    with ThreadPoolExecutor(cores()) as decoders:
        for first in range(0, len(files), batch):
            if len(waiting) >= AHEAD * cores():
                number, pixels = waiting.popleft()
                yield number, pixels.result()
            grain = files[first : first + batch]
            waiting.append((first, decoders.submit(stacked, grain, batch)))
        for number, pixels in waiting:
            yield number, pixels.result()


def main(given: argparse.Namespace) -> None:
    """Compute the bottlenecks of all files."""
    import openvino as ov

    batch = int(given.batch or 1)
    network = compiled(converted_of(given.weights), given.precision or "bf16", batch, given.streams)
    requests = ov.AsyncInferQueue(network)

    def all_of(files: list[Path]) -> Rows:
        rows = np.empty((len(files), network.output(0).partial_shape[1].get_length()), np.float32)

        def keep(request: Any, first: int) -> None:
            whole = request.get_output_tensor(0).data
            rows[first : first + batch] = whole[: len(rows) - first]

        requests.set_callback(keep)
        for first, pixels in ahead(files, batch):
            requests.start_async({0: pixels}, first)
        requests.wait_all()
        return rows

    for request in requests:
        request.infer({0: np.zeros((batch, SIDE, SIDE, 3), np.uint8)})
    report(given, all_of)


if __name__ == "__main__":
    main(arguments("precision", "batch", "streams"))
