# SPDX-License-Identifier: Apache-2.0
"""The registry: an OCI and Docker registry that lets only signed content leave.

Its lean core is the protocol (`views`), the rules (`manifests`, `enforce`), the tables (`models`, `repositories`)
and the bytes (`blobs`, `uploads`, `storage`).  Wings such as `accounts` import the core, never the other way round;
`app` wires both.
"""
