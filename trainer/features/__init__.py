# SPDX-License-Identifier: Apache-2.0
"""From an image to its bottleneck: weights, the frozen graph, the cache, the extraction."""
