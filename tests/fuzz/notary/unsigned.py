"""What may differ between an accepted envelope and a mutant of it that is accepted too, without being signed again.

What is protected, the payload, the signature and the chain are the same to the byte, as another reader than ours finds
them. Free are how the document around them is written, the signing agent, names that nobody reads, and the token: of
that only the time counts, which is compared with what else a mutant proves.

spec: Notary Project, signature specification, unsigned attributes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import cbor2

from tests.fuzz.mutants import Mutant
from tests.fuzz.notary.seeds import NotarySeed
from tests.fuzz.seeds import Seed


def differences(seed: Seed, mutant: Mutant) -> list[str]:
    """Where `mutant` differs from `seed` in something that matters."""
    if mutant.subject != seed.subject:
        return ["the image"]
    if not isinstance(seed, NotarySeed):
        return []  # statements about revocation: all that they say is compared
    read = _cose if seed.is_cose else _jws
    before = read(seed.payload)
    try:
        after = read(mutant.payload)
    except (ValueError, LookupError, TypeError, AttributeError, cbor2.CBORDecodeError) as error:
        return [f"that another reader cannot read it: {type(error).__name__}"]
    return [name for name in before if before[name] != after[name]]


def _jws(data: bytes) -> Mapping[str, object]:
    document = json.loads(data)
    return {**{name: document[name] for name in ("protected", "payload", "signature")},
            "chain": document["header"]["x5c"]}  # fmt: skip


def _cose(data: bytes) -> Mapping[str, object]:
    protected, unprotected, payload, signature = cbor2.loads(data).value
    return {"protected": protected, "payload": payload, "signature": signature, "chain": unprotected[33]}
