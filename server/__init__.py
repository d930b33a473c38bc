# SPDX-License-Identifier: Apache-2.0
"""The notary server: keeps trust collections, signs their snapshots and timestamps, and tells what changed.

It holds no private key; it asks a signer.
"""
