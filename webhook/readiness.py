"""Whether reviews should be sent to this process, and what an operator should know of it: `/readyz`, in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from webhook.materials import Material
from webhook.oci import courtesy
from webhook.outside import Outside
from webhook.policy.model import PolicySet
from webhook.tls.certificate import ServingCertificate

if TYPE_CHECKING:
    from webhook.installation import Installation


class Source(Protocol):
    """Where policies come from. `problems` say why reviews should not be sent here, `notes` what is amiss besides."""

    @property
    def current(self) -> PolicySet: ...

    @property
    def problems(self) -> Mapping[str, str]: ...

    @property
    def notes(self) -> Mapping[str, str]: ...


def problems(source: Source, certificate: ServingCertificate, installed: Installation | None) -> Mapping[str, str]:
    """Why reviews should not be sent here now."""
    now = datetime.now(UTC)
    found = dict(source.problems)
    if certificate.not_after <= now:
        found["certificate"] = f"expired at {certificate.not_after.isoformat()}"
    return {**found, **(installed.problems(now) if installed else {})}


def notes(source: Source, certificate: ServingCertificate, material: Material, outside: Outside) -> Mapping[str, str]:
    """What an operator should know besides, each by its subject."""
    policies = source.current
    found = {
        "policies": str(len(policies.policies)),
        "policy-revision": policies.revision,
        "certificate-expires": certificate.not_after.isoformat(),
    }
    found |= {f"policy-file {name}": problem for name, problem in policies.problems.items()}
    found.update(source.notes)
    if certificate.problem:
        found["certificate"] = certificate.problem
    now = datetime.now(UTC)
    found |= {f"trust-root {state.source.key}": state.describe(now) for state in material.roots.states}
    found |= {f"key {state.place}": state.describe(now) for state in material.keys.states}
    return {**found, **(material.installed.notes(policies) if material.installed else {}), **_outside(outside)}


def _outside(outside: Outside) -> Mapping[str, str]:
    shared = {"shared-cache": outside.shared.state} if outside.shared else {}
    return {**shared, **courtesy.notes(outside.registry.shunned())}
