# SPDX-License-Identifier: Apache-2.0
"""Taking the job to a cluster, from a login node: nothing heavy, and nothing of `trainer`."""
