# SPDX-License-Identifier: Apache-2.0
"""`retrain export`: a finished run for others, as arrays or as a copy that tells no secrets."""
