"""AWS Signer's data plane on loopback: GetRevocationStatus, with what is revoked, and how it fails, set by the test."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping

from tests.doubles import aws
from tests.doubles.aws import Request, Response, Server


class FakeSigner(Server):
    """`revoked` are entities: those that a request is about are in its answer. `failing` answers in its place."""

    def __init__(self) -> None:
        super().__init__(self._status)
        self.revoked: set[str] = set()
        self.failing: Response | None = None

    @property
    def questions(self) -> list[Mapping[str, list[str]]]:
        """The parameters of each request."""
        return [urllib.parse.parse_qs(urllib.parse.urlsplit(request.target).query) for request in self.requests]

    def _status(self, request: Request) -> Response:
        if self.failing is not None:
            return self.failing
        url = urllib.parse.urlsplit(request.target)
        if (request.method, url.path) != ("GET", "/revocations"):
            return aws.refusal(404, "ResourceNotFoundException", "no such path")
        if "/signer/aws4_request" not in request.headers.get("Authorization", ""):
            return aws.refusal(403, "AccessDeniedException")
        asked = urllib.parse.parse_qs(url.query)
        version = asked["profileVersionArn"][0]
        known = {version, version.rpartition("/")[0], asked["jobArn"][0], *asked["certificateHashes"]}
        known |= {half for pair in asked["certificateHashes"] for half in (pair[:96], pair[96:])}
        return Response(body=json.dumps({"revokedEntities": sorted(self.revoked & known)}).encode())
