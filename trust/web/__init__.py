# SPDX-License-Identifier: Apache-2.0
"""What the three services share: the one room of `trust` that knows Flask, SQLAlchemy and gunicorn.

Only `server`, `signer` and `registry` import it; it imports from `trust` only what it turns into HTTP: errors,
names, settings and tokens; and canonical JSON, for the audit trail.
"""
