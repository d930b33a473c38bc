# SPDX-License-Identifier: Apache-2.0
"""The registry's HTTP API (REGISTRY_API §2): thin views over the core.

`gate` decides who may do what and what may leave; `routes` is how a view gets its place; the other files are the
views, one for each kind of thing.
"""
