# SPDX-License-Identifier: Apache-2.0
"""Retrain: transfer learning on image folders as a distributed batch job."""

__version__ = "0.1.0"
