# SPDX-License-Identifier: Apache-2.0
"""Requests as they came, and as the endpoints read them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from .answers import MALFORMED, MISSING, Json, Refused
from .faults import Faults

_ROOTS = ("/api/jarvice/", "/jarvice/")


@dataclass(frozen=True)
class Request:
    """One request to the server; `path` has its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def endpoint(self) -> str:
        """Its name, or nothing for a path that is none of the API."""
        path = unquote(urlsplit(self.path).path)
        root = next((root for root in _ROOTS if path.startswith(root)), None)
        return "" if root is None else path[len(root) :]


class Call:
    """A request on its way through an endpoint."""

    def __init__(self, request: Request, faults: Faults) -> None:
        """Nothing is read yet: a fault may come first."""
        self.request = request
        self.endpoint = request.endpoint
        self._faults = faults
        self._struck: dict[str, bool] = {}

    def strikes(self, fault: str) -> bool:
        """Whether a fault strikes; a call counts once, however often its entries ask."""
        if fault not in self._struck:
            self._struck[fault] = self._faults.take(fault, self.endpoint)
        return self._struck[fault]

    @functools.cached_property
    def parameters(self) -> dict[str, str]:
        """Names and values of the query and of the body, which is a form or JSON."""
        found = dict(parse_qsl(urlsplit(self.request.path).query, keep_blank_values=True))
        body = self.request.body.strip()
        if body.startswith(b"{"):
            return found | {key: _as_query(value) for key, value in self.document().items()}
        return found | dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))

    def document(self) -> Json:
        """The JSON object in the body, whatever the body's type is said to be.

        Raises:
            Refused: there is none.
        """
        try:
            document = json.loads(self.request.body)
        except ValueError:
            raise Refused(400, MALFORMED) from None
        if not isinstance(document, dict):
            raise Refused(400, MALFORMED)
        return document

    def need(self, name: str) -> str:
        """A parameter's value.

        Raises:
            Refused: it is missing or empty.
        """
        value = self.parameters.get(name)
        if not value:
            raise Refused(400, MISSING)
        return value


def _as_query(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
