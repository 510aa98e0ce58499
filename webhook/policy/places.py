"""Objects of the cluster that policies take trust material from: as their fields say it, and as their signers use it.

Both ends of one thing: a document names an object and a key in it, and whoever has such objects at hand must know all
that are named. What stands there is for `trust`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from webhook.evidence.model import Signer
from webhook.policy.syntax import models
from webhook.trust.notary.levels import CertificateRule
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.notary.stores import StoredCertificates
from webhook.trust.stored import Entry, ObjectKind, StoredKey, StoredObject, StoredRoot


def entry_of(
    *, secret: models.KeySecret | models.ObjectEntry | None = None, config_map: models.ObjectEntry | None = None
) -> Entry | None:
    """The entry that one of both fields names, `None` where neither is there."""
    if secret is not None:
        return Entry(StoredObject(ObjectKind.SECRET, secret.name), secret.key)
    if config_map is not None:
        return Entry(StoredObject(ObjectKind.CONFIG_MAP, config_map.name), config_map.key)
    return None


def named(signers: Iterable[Signer]) -> Iterator[StoredKey | StoredRoot | StoredCertificates]:
    """What of objects of the cluster is needed to verify for `signers`; some of it more than once."""
    for signer in signers:
        if signer.trust_root is not None and signer.trust_root.place is not None:
            yield signer.trust_root.place
        match signer.material:
            case StoredKey() as key:
                yield key
            case SigningProfile() | CertificateRule() as rule:
                stores = (*rule.stores, *(rule.timestamp_stores if isinstance(rule, CertificateRule) else ()))
                yield from (store.place for store in stores if store.place is not None)
