# SPDX-License-Identifier: Apache-2.0
"""The new softmax layer: its loss, its solver, the choice of L2, and what is saved."""
