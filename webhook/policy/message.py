"""A decision in words: the denial that a user reads under `kubectl apply`, warnings, audit annotations, a retry hint.

A denial must stand alone in 2048 bytes: which image, where, which policy, what was found for each signer, what to do.
It is made of strangers' text, which is printed as it is only where it is plain ASCII, and otherwise quoted and cut; an
operator's own words keep their letters and lose control characters. Pure; what is said never decides anything.

spec: Kubernetes AdmissionReview v1, response; limits of the API server on warnings and audit annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from webhook.errors import Code, CountersignError
from webhook.policy import plain, remedies
from webhook.policy.decision import (
    REFUSED,
    ImageDecision,
    PolicyDecision,
    Result,
    ReviewDecision,
    SignerLine,
    Stale,
)
from webhook.policy.reasons import attestation_lines, rank, signer_lines, worst_first

DOCUMENTATION = "https://countersign.dev/docs/denied.md"
MAX_MESSAGE_BYTES = 2048  # it is copied into the events of every owner of the pod
MAX_NAME_CHARS = 63  # of a container: RFC 1123, label
MAX_HELP_BYTES = 200
MAX_ANNOTATION_BYTES = 1000  # kept below 1 KiB
MAX_WARNINGS = 5
MAX_WARNING_CHARS = 256  # the API server cuts there, when all are more than 4096
MAX_STALE_CHARS = 200  # of one answer that stands in
MAX_POLICIES, MAX_SIGNERS, MAX_ATTESTATIONS, MAX_REMEDIES = 3, 8, 4, 3
MORE = "and {} more images are not admitted"
MORE_BYTES = len(MORE) + 8
REVISION_CHARS = 7
MAX_PLACE_CHARS = 80  # of a path in a warning: that of a CronJob's init container has 55
LATER = "; its pods are judged when they are made"

_KINDS = {
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
    "volumes": "volume",
}


def denial(review: ReviewDecision) -> str:
    """Why the review is refused, the worst image first; empty where it is not. At most `MAX_MESSAGE_BYTES`."""
    refused = _refused(review)
    if not refused:
        return ""
    ending = _ending(refused)
    room = MAX_MESSAGE_BYTES - _size(ending)
    return "\n".join((*_told(refused, room), *ending))


def image_lines(image: ImageDecision) -> tuple[str, ...]:
    """One image's decision: which, where, what each policy says, and where it is refused, what to do."""
    return (*_body(image), *(_ending([image]) if image.result in REFUSED else ()))


def warnings(review: ReviewDecision) -> tuple[str, ...]:
    """What the user should know of images whatever becomes of them; never empty, never the same twice."""
    return _warnings((image.reference, warning) for image in review.images for warning in image.warnings)


def early_warnings(images: Sequence[ImageDecision]) -> tuple[str, ...]:
    """What becomes of the pods of a workload with these images, the worst first, within the limits of `warnings`."""
    refused = sorted((image for image in images if image.result in REFUSED), key=_severity)
    others = [image for image in images if image.result not in REFUSED]
    said = [early_warning(_early(image)) for image in refused]
    said += [f"{_short(image.reference)}: {warning}" for image in others for warning in image.warnings]
    return _bounded(said)


def early_warning(text: str) -> str:
    """`text` about a workload, and that its pods are what is judged in the end."""
    return f"{plain.own(text, MAX_WARNING_CHARS - len(LATER))}{LATER}"


def pin_warnings(unresolved: Iterable[tuple[str, CountersignError]]) -> tuple[str, ...]:
    """Why tags of these references were not pinned, in the words and within the limits of `warnings`."""
    return _warnings((reference, f"not pinned: {error.code}: {error.detail}") for reference, error in unresolved)


def pin_annotations(
    pinned: Iterable[str], unresolved: Iterable[CountersignError], stale: Iterable[str]
) -> dict[str, str]:
    """The durable record of pinning: the references as they run, why others stayed as they are, and which digests were
    written from memory."""
    values = {
        "pinned": _listed(pinned),
        "pin-reason": _listed(error.code for error in unresolved),
        "stale": _listed(f"{Stale.TAG}: {plain.own(said, MAX_STALE_CHARS)}" for said in stale),
    }
    return {key: value for key, value in values.items() if value}


def _early(image: ImageDecision) -> str:
    place = plain.foreign(image.paths[0][0], MAX_PLACE_CHARS) if image.paths else "the object"
    more = f" and {len(image.paths) - 1} more" if len(image.paths) > 1 else ""
    worst = next(iter(_refusing(image)), None)
    name = f' policy "{plain.own(worst.policy.name, MAX_NAME_CHARS)}"' if worst else ""
    by = f" by{name}" if name else ""
    if image.result is Result.ERROR:
        verdict = f"could not be examined now{f' for{name}' if name else ''}"
    elif image.code in (Code.NO_SIGNATURE, Code.IMAGE_NOT_FOUND):
        verdict = f"would be denied{by} as it is now"
    else:
        verdict = f"will be denied{by}"
    return f"{place}{more}: {_short(image.reference)} {verdict}: {image.code}"


def _warnings(said: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return _bounded(f"{_short(reference)}: {warning}" for reference, warning in said)


def _bounded(texts: Iterable[str]) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(plain.own(text, MAX_WARNING_CHARS) for text in texts))
    if len(distinct) <= MAX_WARNINGS:
        return distinct
    more = len(distinct) - MAX_WARNINGS + 1
    return (*distinct[: MAX_WARNINGS - 1], f"{more} more warnings about the images of this object")


def audit_annotations(review: ReviewDecision) -> dict[str, str]:
    """The durable record: decision, policy, digests, reason, policy-revision and stale, those that have a value."""
    told = _refused(review) or sorted(review.images, key=lambda image: image.result is not Result.WARNED)
    values = {
        "decision": _decision(review),
        "policy": _listed([decision.policy.name for image in told for decision in _speaking(image)]),
        "digests": _listed([str(image.digest) for image in review.images if image.digest is not None]),
        "reason": _listed([image.code or image.result for image in told]),
        "policy-revision": _listed([review.revision]),
        "stale": _listed([said for image in review.images if image.stale for said in _stale(image)]),
    }
    return {key: value for key, value in values.items() if value}


def retry_after(review: ReviewDecision) -> int | None:
    """In how many seconds a repetition may find more; `None` where some refusal would still stand."""
    seconds = [remedies.RETRY_SECONDS.get(image.code) if image.code else None for image in _refused(review)]
    found = [wait for wait in seconds if wait is not None]
    return max(found) if found and len(found) == len(seconds) else None


def _stale(image: ImageDecision) -> Iterable[str]:
    return (f"{kind}: {plain.own(said, MAX_STALE_CHARS)}" for kind, said in image.stale.items())


def _refused(review: ReviewDecision) -> list[ImageDecision]:
    """Worst first, as the status is chosen."""
    if review.allowed:
        return []
    return sorted((image for image in review.images if image.result in REFUSED), key=_severity)


def _severity(image: ImageDecision) -> tuple[bool, int]:
    return image.result is Result.ERROR, -rank(image.code)


def _told(images: Sequence[ImageDecision], room: int) -> list[str]:
    """Every image in full while there is room, then in one line, then only counted."""
    first = _fit(_body(images[0]), room - MORE_BYTES)
    rest = [_body(image) for image in images[1:]]
    brief = [(f"{lines[0]}: {image.code}",) for image, lines in zip(images[1:], rest, strict=True)]
    spare = room - _size(first) - sum(map(_size, brief))
    lines = list(first)
    left = room - _size(first)
    for index, (full, short) in enumerate(zip(rest, brief, strict=True)):
        growth = _size(full) - _size(short)
        chosen = full if growth <= spare else short
        spare -= growth if chosen is full else 0
        reserve = 0 if index == len(rest) - 1 else MORE_BYTES
        if _size(chosen) + reserve > left:
            return [*lines, MORE.format(len(rest) - index)]
        lines += chosen
        left -= _size(chosen)
    return lines


def _fit(lines: Sequence[str], room: int) -> tuple[str, ...]:
    kept: list[str] = []
    for index, line in enumerate(lines):
        more = f"  … {len(lines) - index} more lines"
        if _size((*kept, line)) + (_size([more]) if index < len(lines) - 1 else 0) > room:
            return (*kept, more)
        kept.append(line)
    return tuple(kept)


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)  # with its newline


def _ending(images: Sequence[ImageDecision]) -> tuple[str, ...]:
    """What to do, and the last word to the owner of the worst policy."""
    steps = list(dict.fromkeys((image.code, _remedy(image)) for image in images if image.code is not None))
    remedies = (f"  {remedy}: {DOCUMENTATION}#{code}" for code, remedy in steps[:MAX_REMEDIES])
    owners = (decision.policy.help for image in images for decision in _refusing(image))
    words = next((f"  {plain.own_bytes(words, MAX_HELP_BYTES)}" for words in owners if words), None)
    return (*remedies, *([words] if words else []))


def _remedy(image: ImageDecision) -> str:
    if image.code is None:
        return ""
    worst = next(iter(_refusing(image)), None)
    if worst and worst.attestations and worst.code is Code.NO_SIGNATURE and len(worst.counted) >= worst.needed:
        return remedies.MISSING_ATTESTATION
    if worst and worst.tampered and worst.code is Code.SIGNATURE_INVALID:
        return remedies.TAMPERED
    return remedies.REMEDIES[image.code]


def _body(image: ImageDecision) -> tuple[str, ...]:
    heading = f"{_where(image)}{_reference(image)}"
    if image.result in REFUSED:
        told = _refusing(image)
    else:
        told = [decision for decision in image.policies if decision.result is not Result.SILENT]
    if not told:
        return heading, f"  {image.code or image.result}: {plain.foreign(image.detail)}"
    lines = [line for decision in told[:MAX_POLICIES] for line in _policy_lines(decision)]
    if len(told) > MAX_POLICIES:
        lines.append(f"  and {len(told) - MAX_POLICIES} more policies")
    return heading, *lines


def _refusing(image: ImageDecision) -> list[PolicyDecision]:
    return worst_first(decision for decision in image.policies if decision.refuses)


def _speaking(image: ImageDecision) -> list[PolicyDecision]:
    return _refusing(image) or [decision for decision in image.policies if decision.result is not Result.SILENT]


def _policy_lines(decision: PolicyDecision) -> Iterable[str]:
    policy = decision.policy
    name = f'  policy "{plain.own(policy.name, MAX_NAME_CHARS)}" (rev {policy.revision[:REVISION_CHARS]})'
    rule = f" {decision.rule}" if decision.rule not in ("", "signers") else ""
    refused = decision.result in REFUSED
    if refused and not decision.refuses:
        rule += " only warns"
    if not refused or not (decision.signers or decision.attestations):
        own = decision.blocked or not refused
        detail = plain.own(decision.detail) if own else plain.foreign(decision.detail)
        yield f"{name}{rule}: {decision.code or decision.result}: {_loud(decision) or detail}"
        return
    yield f"{name}{rule}{'' if decision.refuses else ','} wants {plain.own(decision.wants)}"
    yield from _table(signer_lines(decision), attestation_lines(decision))


def _loud(decision: PolicyDecision) -> str:
    return plain.own(decision.loud)


def _table(signers: Sequence[SignerLine], attestations: Sequence[SignerLine]) -> Iterable[str]:
    lines = (*signers, *attestations)
    first = lines[0]
    if len(lines) > 1 and first.code not in (None, Code.NO_SIGNATURE) and all(
        (line.code, line.detail) == (first.code, first.detail) for line in lines
    ):  # fmt: skip
        yield f"  {first.code}: {plain.foreign(first.detail)}"  # it is the image's, not a signer's
        return
    told = (*_first(signers, MAX_SIGNERS), *_first(attestations, MAX_ATTESTATIONS))
    shown = [(plain.own(line.name, MAX_NAME_CHARS), str(line.code or Result.VERIFIED), line) for line in told]
    names = max(len(name) for name, _, _ in shown)
    codes = max(len(code) for _, code, _ in shown)
    for name, code, line in shown:
        own = line.code is Code.BLOCKED
        detail = plain.own(line.detail) if own else plain.foreign(line.detail)
        yield f"  - {name:<{names}}  {code:<{codes}}   {detail}"
    if len(signers) > MAX_SIGNERS:
        yield f"  and {len(signers) - MAX_SIGNERS} more signers"
    if len(attestations) > MAX_ATTESTATIONS:
        yield f"  and {len(attestations) - MAX_ATTESTATIONS} more attestations"


def _first(lines: Sequence[SignerLine], limit: int) -> Sequence[SignerLine]:
    """At most `limit` of them; what is in order must not push out what is not."""
    return lines if len(lines) <= limit else sorted(lines, key=lambda line: line.code is None)[:limit]


def _where(image: ImageDecision) -> str:
    if not image.paths:
        return ""
    path, name = image.paths[0]
    kind = next((kind for part, kind in _KINDS.items() if f"{part}[" in path), "container")
    shown = f'"{name}"' if plain.is_plain(name) and len(name) <= MAX_NAME_CHARS else plain.quoted(name, MAX_NAME_CHARS)
    more = f" and {len(image.paths) - 1} more" if len(image.paths) > 1 else ""
    return f"{kind} {shown} ({plain.foreign(path)}){more}: "


def _reference(image: ImageDecision) -> str:
    """The reference as it was written, and the digest that was judged, short; once, where they are the same."""
    text, digest = image.reference, ""
    if image.digest is not None:
        text = text.removesuffix(f"@{image.digest}")
        digest = f" @{image.digest.algorithm}:{image.digest.hex[:4]}…{image.digest.hex[-2:]}"
    is_shown = plain.is_plain(text) and len(text) <= plain.MAX_CHARS
    return f"{text if is_shown else plain.quoted(text, plain.MAX_CHARS)}{digest}"


def _short(reference: str, max_chars: int = 60) -> str:
    if not plain.is_plain(reference):
        return plain.quoted(reference, max_chars)
    # The end of a reference says more than its beginning, but for a digest.
    name, at, digest = reference.partition("@")
    name = name if len(name) <= max_chars else f"…{name[1 - max_chars :]}"
    return f"{name}{at}{digest[:11]}…{digest[-2:]}" if at else name


def _decision(review: ReviewDecision) -> str:
    results = {image.result for image in review.images}
    if not review.allowed:
        return "deny" if Result.DENIED in results else "error"
    if Result.WARNED in results:
        return "warn"
    return "allow" if results - {Result.UNCHANGED} else "skip"


def _listed(values: Iterable[str]) -> str:
    """Each value once, in its order, with commas; where it grows too long, how many are missing."""
    distinct = list(dict.fromkeys([plain.to_ascii(value) for value in values if value]))
    if not distinct:
        return ""
    listed = ",".join(distinct)
    if len(listed.encode()) <= MAX_ANNOTATION_BYTES:
        return listed
    kept: list[str] = []
    for index, value in enumerate(distinct):
        if len(",".join((*kept, value)).encode()) > MAX_ANNOTATION_BYTES:
            return ",".join((*kept, f"and {len(distinct) - index} more"))
        kept.append(value)
    return ",".join(kept)
