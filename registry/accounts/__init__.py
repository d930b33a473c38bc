# SPDX-License-Identifier: Apache-2.0
"""The wing of accounts: users, their passwords and permissions, and the tokens that they are given.

The registry's core does not know it: the core believes tokens (`trust.tokens`), and this wing issues them.
"""
