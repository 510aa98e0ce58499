"""Trust policy documents of Notation, validated, to a draft that decides as they do.

Each statement's signers become certificates and signing profiles, its scopes a rule, and what no statement is about
stays denied. A profile has no levels: where a document lets more pass than a policy can say, the stricter is written,
and told in a comment beside it.

spec: Notary Project, trust store and trust policy specification; AWS Signer, signing profiles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from webhook.errors import OperatorError, quote
from webhook.migration.draft import Draft, Item
from webhook.migration.notation import Document, StoreName
from webhook.migration.scopes import Layout, Place, lay_out
from webhook.migration.signers import Signers
from webhook.policy.model import Mode
from webhook.trust.notary.stores import TrustStore

_MADE = "Made by `countersign import notation` of {}."
_ANY = "One good signature is enough for Notation, so any one of the signers of a statement will do here too."
_BELOW = "A scope is one repository, and a pattern covers what lies below it too: that is left to the last rule."
_EXEMPT = "Level skip, statement {}. What lies below is denied, see deny: the scope is this repository alone."


def wanted_stores(document: Document) -> tuple[StoreName, ...]:
    """The trust stores that `document` needs, each once."""
    return tuple(dict.fromkeys(store for statement in document.statements for store in statement.stores))


def convert(document: Document, stores: Mapping[StoreName, TrustStore] | None, *, origin: str) -> Draft:
    """The policy that decides as `document` does with `stores`; `None` where no folder of them was given.

    Raises: OperatorError.
    """
    signers = Signers(stores)
    layout = lay_out(document)
    named = {statement.name: signers.of(statement) for statement in document.statements}
    everywhere = next((one for one in document.statements if not one.scopes), None)
    rest = named[everywhere.name] if everywhere else ()
    # A policy would take any of its signers where no rule is about an image
    rules = list(_rules(document, layout, named, rest, signers)) if layout.tiers else []
    if not rules and not rest:
        signers.nobody()
    _check_left(document, layout, origin)
    return Draft(
        name="notation",
        mode=Mode.ENFORCE,
        heading=(_MADE.format(quote(origin)), _ANY, *_notes(document, layout, signers)),
        sections={
            "signerProfiles": list(signers.profiles()),
            "certificates": signers.certificates,
            "trustStores": list(signers.trust_stores()),
            "exemptRegistries": [_exempt(place) for place in layout.exempt],
            "rules": rules,
            "deny": [_deny(place) for place in layout.exempt],
        },
    )


def _check_left(document: Document, layout: Layout, origin: str) -> None:
    if not (layout.tiers or layout.exempt or any(not statement.scopes for statement in document.statements)):
        raise OperatorError(f"{origin}: a scope expected that is a repository as pods name it, found none")


def _rules(
    document: Document,
    layout: Layout,
    named: Mapping[str, Sequence[str]],
    rest: Sequence[str],
    signers: Signers,
) -> Iterator[Item]:
    others = list(rest) or [signers.nobody()]
    for tier in layout.tiers:
        yield Item({"images": tier.below, "signers": others}, (_BELOW,))
        for statement in document.statements:
            if images := tier.of(statement):
                chosen = list(named[statement.name]) or [signers.nobody()]
                yield Item({"images": images, "signers": chosen}, (f"Statement {quote(statement.name)}",))
    about = "The statement for all other repositories" if rest else "No statement is about other repositories"
    yield Item({"images": ["**"], "signers": others}, (about,))


def _exempt(place: Place) -> Item:
    return Item(str(place.repository), (_EXEMPT.format(quote(place.statement.name)),))


def _deny(place: Place) -> Item:
    reason = f"below {place.repository}, which alone is exempt"
    return Item({"image": f"{place.repository}/**", "reason": reason[:200]})


def _notes(document: Document, layout: Layout, signers: Signers) -> Iterator[str]:
    """What of the document is not in the policy, and why."""
    yield from signers.notes
    if layout.crowded:
        shown = _listed([str(place.repository) for place in layout.crowded])
        yield (
            f"Stricter: level skip has no equivalent for {shown}, since an exemption would cover the repositories "
            "below that other statements are about. These images need a signature here."
        )
    if layout.unnamable:
        shown = _listed([quote(scope)[1:-1] for scope in layout.unnamable])
        yield f"Left out: {shown}. No pod can name an image so; a host has a dot or a port, or is localhost."
    if document.unknown:
        yield f"Left out, and ignored by Notation too, as no field of the format: {_listed(document.unknown)}."


def _listed(texts: Collection[str]) -> str:
    shown = list(texts)[:10]
    return ", ".join(shown) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "")
