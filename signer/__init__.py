# SPDX-License-Identifier: Apache-2.0
"""The notary signer: the process that alone holds private keys.

It speaks HTTPS with mutual TLS and nothing else, to the clients that its settings name, and signs the timestamps and
snapshots of trust collections (NOTARY_V1 §4).
"""
