# SPDX-License-Identifier: Apache-2.0
"""Why a pull is served or refused: `GET /api/v1/repositories/<name>/trust/explain?reference=TAG|DIGEST`."""

from __future__ import annotations

import json

from flask import Flask, Response, request

from registry.enforce import may_sign
from registry.explain import Explainer
from registry.views.gate import Gate
from registry.views.routes import expose, parse_reference
from trust.names import RepositoryName


class ExplainViews:
    """The view of decisions.

    Args:
        gate: decides who may ask: whoever may pull.
        explainer: knows the answers.
    """

    def __init__(self, gate: Gate, explainer: Explainer) -> None:
        self._gate = gate
        self._explainer = explainer

    def expose(self, app: Flask) -> None:
        """Give the view its place."""
        path = "/api/v1/repositories/<repository:name>/trust/explain"
        expose(app, "GET", path, self.get, content="says what would be served, and serves nothing of it")

    def get(self, repository: RepositoryName) -> Response:
        """Explain what a consumer would get."""
        grant = self._gate.reader(repository)
        facts = self._explainer.explain(repository, parse_reference(request.args.get("reference", "")))
        # Whether this very caller would be let off (docs/decisions/0016).
        facts["caller_exempt"] = may_sign(grant, repository)
        response = Response(json.dumps(facts), content_type="application/json; charset=utf-8")
        response.headers["Cache-Control"] = "private, no-store"
        return response
