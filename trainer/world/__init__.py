# SPDX-License-Identifier: Apache-2.0
"""All processes of one run: the only folder that knows MPI, Horovod and launchers."""
