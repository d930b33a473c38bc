# SPDX-License-Identifier: Apache-2.0
"""The revisions of the registry's tables, one a file; `trust.web.migrations` runs them.

A revision says what the tables were at its time, so it takes nothing from the models of today.
"""
