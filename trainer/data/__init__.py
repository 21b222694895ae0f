# SPDX-License-Identifier: Apache-2.0
"""What the user gave: files, items, groups, and the sets they are dealt to."""
