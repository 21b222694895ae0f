# SPDX-License-Identifier: Apache-2.0
"""`python -m trainer`: the command `retrain`, for launchers that start a module."""

from trainer.cli import main

main()
