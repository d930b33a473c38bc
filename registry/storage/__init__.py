# SPDX-License-Identifier: Apache-2.0
"""Where bytes are at home: one protocol (`base`), one file for each kind of home."""
