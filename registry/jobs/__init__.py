# SPDX-License-Identifier: Apache-2.0
"""Housekeeping: what nobody needs any more is found and removed."""
