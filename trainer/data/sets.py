# SPDX-License-Identifier: Apache-2.0
"""Names of the three sets."""

TRAINING, VALIDATION, TEST = "training", "validation", "test"
