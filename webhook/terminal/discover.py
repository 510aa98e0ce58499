"""`discover`: all that is attached to an image, as a tree, with what each thing says of itself. Nothing is verified.

It asks as the webhook does, with the same limits and guards, and looks into more: unsigned things, artifacts of other
tools, and what is attached to an attachment. spec: docs/discover.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from webhook.errors import CountersignError, OperatorError
from webhook.evidence import inventory
from webhook.evidence.inventory import Found, Inventory, Item, Shelf
from webhook.oci.manifest import Index, Manifest
from webhook.oci.reference import Reference
from webhook.outside import join
from webhook.settings import KIB, MIB, Settings
from webhook.terminal import claims, given, report
from webhook.terminal import configured as configuration
from webhook.terminal.claims import Claims
from webhook.terminal.notary import Notary, told_time
from webhook.terminal.paper import BAD, DIM, STRONG, UNSURE, Output, Paper

Document = dict[str, object]
UNTOLD = 2  # something could not be looked at

NAMES = {
    Shelf.PLATFORMS: "platforms",
    Shelf.SIGNATURE_TAG: ".sig tag",
    Shelf.ATTESTATION_TAG: ".att tag",
    Shelf.SBOM_TAG: ".sbom tag",
    Shelf.REFERRERS: "referrers API",
    Shelf.FALLBACK_TAG: "fallback tag",
}
WIDEST = 40  # that is lined up with its neighbours
TEE, ELBOW, BAR, GAP = "├── ", "└── ", "│   ", "    "


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked on the command line."""

    image: str
    timeout: float
    insecure: tuple[str, ...]
    private: tuple[str, ...]


def run(wanted: Wanted, configured: Settings, *, output: Output, paper: Paper) -> int:
    """What is attached was told; the exit code says whether all of it. Raises: OperatorError."""
    image = given.image(wanted.image)
    configured = configuration.with_hosts(
        configured, asked=(wanted.image,), insecure=wanted.insecure, private=wanted.private
    )
    try:
        found = asyncio.run(_look(image, configured, wanted.timeout))
    except TimeoutError:
        raise OperatorError(f"deadline_exceeded: --timeout: not all was looked at within {wanted.timeout} s") from None
    except CountersignError as error:
        hint = report.HINTS.get(error.code)
        raise OperatorError(f"{error.code}: {error.detail}" + (f" ({hint})" if hint else "")) from error
    if output is Output.JSON:
        paper.document(_document(image, found))
    else:
        _write(image, found, paper)
    return 0 if found.is_whole else UNTOLD


async def _look(image: Reference, configured: Settings, timeout: float) -> Inventory:  # noqa: ASYNC109 - of all requests
    outside = join(configured)
    registry = outside.registry
    try:
        async with asyncio.timeout(timeout):
            digest = image.digest
            if digest is None:
                assert image.tag is not None  # a reference without a digest has one
                digest = await registry.resolve(image.repository, image.tag)
            return await inventory.take(registry, configured.evidence, image.repository, digest)
    finally:
        await outside.close()


# --- for people


def _write(image: Reference, found: Inventory, paper: Paper) -> None:
    paper.line((image.text, STRONG))
    paper.line(("digest ", DIM), str(found.digest), indent=2)
    paper.line(("kind   ", DIM), _kind(found.image), indent=2)
    hearsay = "it is what the registry lists, and what things say of themselves; countersign verify does"
    paper.line(("Nothing here was verified: ", UNSURE), hearsay, indent=2, hang=2)
    for place in found.found:
        if place.shelf is not Shelf.PLATFORMS or isinstance(found.image, Index):
            paper.blank()
            _write_place(place, paper)


def _kind(image: Manifest | Index) -> str:
    if isinstance(image, Index):
        return "index, which lists images by platform"
    plural = "" if len(image.layers) == 1 else "s"
    return f"image of {len(image.layers)} layer{plural}, {_sized(sum(layer.size for layer in image.layers))}"


def _write_place(place: Found, paper: Paper) -> None:
    note = " (unsigned, never evidence)" if place.shelf is Shelf.SBOM_TAG else ""
    paper.line((f"{NAMES[place.shelf]}{note}", STRONG), f"  {_answer(place)}", hang=2)
    _write_items(place.items, place.missing, place.shelf, "", paper)


def _answer(place: Found) -> str:
    if place.problem is not None:
        return f"{place.problem.code}: {place.problem.detail}"
    if not place.supported:
        return "not supported"
    count = len(place.items) + place.missing
    return f"{count} found" if count else "none"


def _write_items(items: Sequence[Item], missing: int, shelf: Shelf, guide: str, paper: Paper) -> None:
    told = [claims.of(item, shelf) for item in items]
    width = min(max((len(each.what) for each in told), default=0), WIDEST)
    for number, (item, each) in enumerate(zip(items, told, strict=True), start=1):
        last = number == len(items) and not missing
        _write_item(item, each, shelf, (guide, last), width, paper)
    if missing:
        paper.line((f"{guide}{ELBOW}", DIM), (f"and {missing} more, not looked at", UNSURE))


def _write_item(item: Item, told: Claims, shelf: Shelf, at: tuple[str, bool], width: int, paper: Paper) -> None:
    guide, last = at
    below = guide + (GAP if last else BAR)
    facts = f"{_sized(item.size):>9}  {claims.short(item.listed.digest)}"
    paper.line((guide + (ELBOW if last else TEE), DIM), f"{told.what:<{width}}  ", (facts, DIM), hang=len(below))
    within = below + (BAR if item.nested or item.missing else GAP)
    for text in _remarks(told):
        paper.line((text, DIM), guide=within, hang=2)
    for trouble in _troubles(item, told):
        paper.line((trouble, BAD), guide=within, hang=2)
    _write_items(item.nested, item.missing, shelf, below, paper)


def _remarks(told: Claims) -> list[str]:
    by = "with" if told.signer == claims.A_KEY else "by"
    remarks = (
        (told.predicate_type, f"predicate {told.predicate_type}"),
        (told.about, f"about {claims.short(told.about)}"),
        (told.signer, f"says it was signed {by} {told.signer}"),
        (told.created, f"says it was made {told.created}"),
    )
    return [remark for said, remark in remarks if said] + _remarks_on_notary(told.notary)


def _remarks_on_notary(said: Notary | None) -> list[str]:
    if said is None:
        return []
    times = f"says it was signed {told_time(said.signed_at)}"
    if said.expires_at is not None:
        times += f" and expires {told_time(said.expires_at)}"
    asks = f", asks for the plug-in {said.plugin}" if said.plugin else ""
    remarks = [times, f"scheme {said.scheme}{asks}"]
    remarks += [f"profile {said.profile}"] if said.profile else []
    return remarks


def _troubles(item: Item, told: Claims) -> list[str]:
    problem = item.problem
    return [text for text in (f"{problem.code}: {problem.detail}" if problem else "", told.unreadable) if text]


def _sized(size: int) -> str:
    if size < KIB:
        return f"{size} B"
    return f"{size / KIB:.1f} KiB" if size < MIB else f"{size / MIB:.1f} MiB"


# --- for programs


def _document(image: Reference, found: Inventory) -> Document:
    return {
        "image": image.text,
        "digest": str(found.digest),
        "media_type": found.image.media_type,
        "verified": False,
        "places": [
            {
                "place": place.shelf,
                "answer": place.problem.code if place.problem else _answer(place),
                "detail": place.problem.detail if place.problem else None,
                "missing": place.missing,
                "items": [_item(item, place.shelf) for item in place.items],
            }
            for place in found.found
            if place.shelf is not Shelf.PLATFORMS or isinstance(found.image, Index)
        ],
    }


def _item(item: Item, shelf: Shelf) -> Document:
    told, listed = claims.of(item, shelf), item.listed
    return {
        "what": told.what,
        "digest": str(listed.digest),
        "size": item.size,
        "media_type": listed.media_type,
        "artifact_type": (item.manifest.artifact_type if item.manifest else None) or listed.artifact_type,
        "platform": listed.platform or None,
        "created": told.created or None,
        "about": told.about or None,
        "predicate_type": told.predicate_type or None,
        "signer": told.signer or None,
        "notary": told.notary.document if told.notary else None,
        "unsigned": told.unsigned,
        "problem": "; ".join(_troubles(item, told)) or None,
        "missing": item.missing,
        "items": [_item(nested, shelf) for nested in item.nested],
    }
