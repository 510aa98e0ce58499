"""Policies as they are applied in a namespace of a cluster, and what they take keys from, read once for a command.

All of it is read with the user's own rights: what these do not reach, as Secrets for the role `view`, is not at hand,
and says so. A ConfigMap that does not load is told with its mistakes: its last good version is the webhook's alone.

spec: kubernetes.md 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from webhook import settings
from webhook.errors import OperatorError, quote
from webhook.kube.client import Kube, KubeError, Object
from webhook.policy import parcel, places, shelf, source
from webhook.policy.configmaps import CONFIGMAPS_MAX, SELECTOR
from webhook.policy.model import PolicySet, TrustPolicy
from webhook.policy.syntax.mistakes import Mistake, PolicyErrors
from webhook.trust import contents
from webhook.trust.at_hand import Trust
from webhook.trust.contents import Place, State
from webhook.trust.stored import ObjectKind

NOT_FOUND = 404
_COLLECTIONS = {ObjectKind.SECRET: "secrets", ObjectKind.CONFIG_MAP: "configmaps"}


async def load(kube: Kube, namespace: str, configured: settings.Policy) -> tuple[PolicySet, Trust]:
    """The policies in `namespace`, and what of its objects is at hand for them.

    Raises: PolicyErrors, with every mistake; OperatorError.
    """
    now = datetime.now(UTC)
    path = f"/api/v1/namespaces/{namespace}"
    searched = f"ConfigMaps with the label {SELECTOR} in the namespace {quote(namespace)}"
    try:
        objects, _ = await kube.list(f"{path}/configmaps", {"labelSelector": SELECTOR})
    except KubeError as error:
        raise OperatorError(f"the Kubernetes API: {error.detail}") from error
    if not 0 < len(objects) <= CONFIGMAPS_MAX:
        raise OperatorError(f"--policies-in: 1 to {CONFIGMAPS_MAX} {searched} expected, found {len(objects)}")
    policies = _parse(objects, now, configured.file_max_bytes)
    signers = (signer for policy in policies for signer in policy.signers)
    states = [await _state(kube, path, place, now) for place in dict.fromkeys(places.named(signers))]
    baseline = source.parse_baseline(configured.baseline_exempt)
    return PolicySet(policies, shelf.revision(policies), searched, baseline), contents.at_hand(states)


def _parse(objects: Sequence[Object], now: datetime, max_bytes: int) -> tuple[TrustPolicy, ...]:
    policies: list[TrustPolicy] = []
    mistakes: list[Mistake] = []
    for found in map(parcel.read, objects):
        try:
            policies += parcel.parse(found, now=now, max_bytes=max_bytes)
        except PolicyErrors as errors:
            mistakes += errors.mistakes
    if mistakes := [*mistakes, *shelf.second_names(policies)]:
        raise PolicyErrors(mistakes)
    return tuple(policies)


async def _state(kube: Kube, path: str, place: Place, now: datetime) -> State:
    holder, found = place.entry.holder, None
    try:
        found = await kube.get(f"{path}/{_COLLECTIONS[holder.kind]}/{holder.name}")
    except KubeError as error:
        if error.status != NOT_FOUND:
            return State(place, problem=error.detail)
    reading = contents.read(place, found)
    return State(place, reading.material, now, reading.problem)
