# SPDX-License-Identifier: Apache-2.0
"""How fast one core multiplies matrices: what no network can pass.

    python product.py CORE PRECISION SECONDS

Says "ready" on standard output, waits for a line, multiplies for SECONDS, and prints GFLOP/s as
JSON. The waiting lets one process a core begin at the same moment.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

SIDE = 2048


def main(core: int, precision: str, seconds: float) -> None:
    """Measure; the median of all products, so that one interruption does not show."""
    os.sched_setaffinity(0, {core})
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    matrix = tf.cast(tf.random.stateless_normal([SIDE, SIDE], [1, 2]), precision)
    for _ in range(3):
        tf.linalg.matmul(matrix, matrix).numpy()
    print("ready", flush=True)
    sys.stdin.readline()
    taken = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        started = time.monotonic()
        product = tf.linalg.matmul(matrix, matrix)
        taken.append(time.monotonic() - started)
    assert product.shape == (SIDE, SIDE)
    print(json.dumps({"gflops": 2 * SIDE**3 / statistics.median(taken) / 1e9, "n": len(taken)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
