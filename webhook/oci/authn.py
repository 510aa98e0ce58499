"""Credentials, and the dialogue in which a registry asks for them, as a generator that never sends a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from webhook.oci.reference import Repository


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Either a user name and password, an identity token (OAuth2 refresh token) or a registry token (bearer)."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class CredentialSource(Protocol):
    """Whence credentials come."""

    async def credentials(self, repository: Repository) -> tuple[Credential, ...]:
        """What may be tried for `repository`, the most specific first; empty for anonymous."""
