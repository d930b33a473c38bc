# SPDX-License-Identifier: Apache-2.0
"""Makes programs that tests start find no boto3: with this folder in PYTHONPATH, Python imports this at its start.

An installation has boto3 with the extra `awskms` only.  Where tests run it is there for moto's sake; a fourth of a
service's start, and a third of a command's, would be its import by securesystemslib.
"""

from __future__ import annotations

import sys

sys.modules["boto3"] = None  # type: ignore[assignment]  # Python's own way to say so
