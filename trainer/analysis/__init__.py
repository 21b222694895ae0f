# SPDX-License-Identifier: Apache-2.0
"""What predictions are worth: scores with intervals, calibration."""
