"""The entry for policies: what `kubectl apply` of a policy ConfigMap is told, before anything of it is in force.

A ConfigMap is refused with every mistake that would keep it from loading, each with its line; what is probably not
meant is a warning, and so is a change after which nothing is enforced. Only those may write policies, and what policies
trust, whom the operator names. Whatever is admitted, the loader reads it again: this entry may have been away. What is
written beside the policies, our own status for one, changes none of them and passes unread.

What takes long, reading policies, is done in a thread for one review after another: whoever reaches the port may send
large ones, and threads are few that reviews of pods need too.

specs: kubernetes.md 3, 5, 11 and 17.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from webhook import settings
from webhook.admission import review
from webhook.admission.review import UnexaminedError
from webhook.admission.watch import Watch
from webhook.audit import record
from webhook.audit.record import Entry
from webhook.errors import Code, InconclusiveError, MalformedError, quote
from webhook.kube.workload import Request
from webhook.policy import lint, parcel, places, shelf
from webhook.policy.model import PolicySet, TrustPolicy
from webhook.policy.parcel import Parcel
from webhook.policy.source import parse_baseline
from webhook.policy.syntax.mistakes import PolicyErrors
from webhook.trust.stored import ObjectKind, StoredObject

MESSAGE_MAX_BYTES = 2048
LINE_MAX_CHARS = 400
WARNINGS_MAX, WARNING_MAX_CHARS = 5, 256
ANNOTATION_MAX_CHARS = 1000
NAMES_MAX = 20
COMPARISONS_MAX = 200_000  # for findings: some seconds, which others wait for
TURN_SECONDS = 5.0  # for which a change waits while others are read: 1 MiB of policies takes seconds
CONFIGMAPS, SECRETS = "configmaps", "secrets"
OPERATIONS = ("CREATE", "UPDATE", "DELETE")
INVALID, FORBIDDEN = 400, 403
# Who empties a namespace that is deleted; to refuse it would keep the namespace for ever
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    """`word` is the record's, `reason` says it in one; `refusal` is the status, and why."""

    word: str
    reason: str = ""
    refusal: tuple[int, str] | None = None
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Change:
    """A ConfigMap before and after; `None` where it holds no policies. `parsed` are those that it would have."""

    name: str
    old: Parcel | None
    new: Parcel | None
    parsed: tuple[TrustPolicy, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """`change` is that of a ConfigMap, `None` where there is none to look at; `fault` is why it could not be read."""

    request: Request
    change: _Change | None = None
    fault: str = ""


class Policies:
    """Reads and decides what `policies.countersign.dev` is asked."""

    def __init__(
        self,
        *,
        in_force: Callable[[], Mapping[str, Sequence[TrustPolicy]]],
        trusted: Callable[[], Collection[tuple[str, str]]],
        own_user: Callable[[], str],
        fails_open: Callable[[], bool],
        cluster: settings.Cluster,
        policy: settings.Policy,
        pinning: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`in_force` are the policies by the name of their ConfigMap, `trusted` what they take keys and certificates
        from, as `("secrets", NAME)`; `own_user` is who we are for the API server, empty where that is not known, and
        `fails_open` whether the entry that enforces does.
        """
        self._in_force, self._trusted, self._own_user, self._fails_open = in_force, trusted, own_user, fails_open
        self._cluster, self._policy, self._pinning, self._clock = cluster, policy, pinning, clock
        self._writers = frozenset(cluster.policy_writers)
        self._baseline = parse_baseline(policy.baseline_exempt)
        self._turn = asyncio.Lock()

    def parse(self, body: bytes) -> Asked:
        """What `body` asks, whatever its object is like. Raises: MalformedError."""
        found = review.read(body)
        asked = found.request
        if not self._is_ours(asked) or asked.resource == SECRETS:
            return Asked(asked)
        try:
            return Asked(asked, _Change(asked.name, _policies_in(found.old_object), _policies_in(found.obj)))
        except MalformedError as error:
            return Asked(asked, fault=error.detail)

    async def decide(self, watch: Watch, request: Asked, timeout: float | None) -> tuple[Entry, bytes]:  # noqa: ASYNC109
        """What is kept of the review, and the answer to it. Raises: UnexaminedError."""
        asked = request.request
        try:
            told = self._look(request)
            if isinstance(told, _Change):
                told = await self._judge_in_turn(asked, told, min(timeout or TURN_SECONDS, TURN_SECONDS))
        except TimeoutError as error:
            busy = InconclusiveError(Code.OVERLOADED, "other changes of policies are being read")
            raise UnexaminedError(busy, request=asked, status=503) from error
        except Exception as error:
            log.exception("review %s failed", asked.uid)
            failure = InconclusiveError(Code.INTERNAL_ERROR, "the review failed; the log says why")
            raise UnexaminedError(failure, request=asked, status=500) from error
        annotations = {"decision": told.word, "reason": told.reason, **told.annotations}
        annotations = {name: record.clean(text, ANNOTATION_MAX_CHARS) for name, text in annotations.items() if text}
        return _entry(watch, asked, told), review.respond_policy(
            asked, told.refusal, warnings=told.warnings, annotations=annotations
        )

    def _look(self, request: Asked) -> _Told | _Change:
        """What is told at once, or the change of policies that has to be read for it."""
        asked, change = request.request, request.change
        if not self._is_ours(asked):
            return _Told("skip", "no policy")
        if request.fault:
            return _Told("deny", "policy_invalid", (INVALID, request.fault))
        if change is None or not (change.old or change.new):
            return self._guard(asked)
        if _is_same(change):
            return _Told("skip", "no policy changed")
        if not self._may_write(asked):
            return self._forbid(
                asked, f"policies of the namespace {self._cluster.namespace}", _revisions(asked, change)
            )
        return change

    async def _judge_in_turn(self, asked: Request, change: _Change, seconds: float) -> _Told:
        """Raises: TimeoutError, where others took all of `seconds`."""
        async with asyncio.timeout(seconds):
            await self._turn.acquire()
        try:
            return await asyncio.to_thread(self._judge, asked, change)
        finally:
            self._turn.release()

    def _judge(self, asked: Request, change: _Change) -> _Told:
        annotations = _revisions(asked, change)
        others = {name: policies for name, policies in self._in_force().items() if name != change.name}
        now = self._clock()
        if change.new is not None:
            try:
                parsed = self._parse(change.new, others, now)
            except PolicyErrors as errors:
                refusal = INVALID, _listed([str(mistake) for mistake in errors.mistakes])
                return _Told("deny", "policy_invalid", refusal, annotations=annotations)
            change = _Change(change.name, change.old, change.new, parsed)
        names = [policy.name for policy in change.parsed[:NAMES_MAX]]
        warnings = _fewer([record.clean(text, WARNING_MAX_CHARS) for text in self._warnings(change, others, now)])
        return _Told("allow", warnings=warnings, annotations=annotations | {"policy": ",".join(names)})

    def _parse(
        self, found: Parcel, others: Mapping[str, Sequence[TrustPolicy]], now: datetime
    ) -> tuple[TrustPolicy, ...]:
        policies = parcel.parse(found, now=now, max_bytes=self._policy.file_max_bytes)
        taken = {policy.name: parcel.origin(name) for name, listed in others.items() for policy in listed}
        if mistakes := shelf.clashes(policies, taken):
            raise PolicyErrors(mistakes)
        return policies

    def _warnings(self, change: _Change, others: Mapping[str, Sequence[TrustPolicy]], now: datetime) -> Iterator[str]:
        rest = [policy for listed in others.values() for policy in listed]
        before = self._in_force().get(change.name, ())
        if _enforce(before) and not _enforce([*rest, *change.parsed]):
            yield "no policy enforces any more: COUNTERSIGN_NO_MATCH alone says what becomes of images"
        if _enforce(change.parsed) and self._fails_open():
            yield "the policy enforces, but the webhook's entry for pods says failurePolicy: Ignore"
        for holder in _secrets_of(change.parsed):
            if holder.name not in self._cluster.trust_secrets:
                yield f"the webhook may not read {holder}: list it in the chart's value trustSecrets"
        yield from self._findings(change.parsed, rest, now)
        for key in change.new.ignored if change.new else ():
            yield f"the key {quote(key, max_chars=60)} is ignored: it does not end in {' or '.join(parcel.ENDINGS)}"

    def _findings(self, parsed: Sequence[TrustPolicy], rest: Sequence[TrustPolicy], now: datetime) -> Iterator[str]:
        policies, only = PolicySet((*parsed, *rest), "", "", self._baseline), {policy.name for policy in parsed}
        if lint.comparisons(policies, only=only) > COMPARISONS_MAX:
            yield "too large to look for findings here: countersign policy lint does, however long it takes"
            return
        for finding in lint.lint(policies, now=now, pinning=self._pinning, only=only):
            key = finding.origin.rpartition(" ")[2]
            yield f"{key}:{finding.line}: {finding.path}: {finding.message} ({finding.code})"

    def _guard(self, asked: Request) -> _Told:
        """What is no policy, but decides what policies trust, or which of them outlive us."""
        what = f"{asked.resource} {quote(asked.name, max_chars=80)}"
        if asked.resource == CONFIGMAPS and asked.name == self._cluster.last_good != "":
            own = self._own_user()
            if asked.user == own != "" or _empties_namespace(asked):
                return _Told("skip", "no policy")
            return _Told("deny", "not_a_writer", (FORBIDDEN, f"{what}: only the webhook itself writes here"))
        if (asked.resource, asked.name) in self._trusted() and not self._may_write(asked):
            return self._forbid(asked, f"{what}, from which policies take what they trust", {"user": asked.user})
        return _Told("skip", "no policy")

    def _forbid(self, asked: Request, what: str, annotations: Mapping[str, str]) -> _Told:
        text = f"{quote(asked.user, max_chars=200)} may not write {what}: COUNTERSIGN_POLICY_WRITERS says who may"
        return _Told("deny", "not_a_writer", (FORBIDDEN, text), annotations=annotations)

    def _may_write(self, asked: Request) -> bool:
        if not self._writers or _empties_namespace(asked):
            return True
        return asked.user in self._writers or not self._writers.isdisjoint(asked.groups)

    def _is_ours(self, asked: Request) -> bool:
        return (
            asked.namespace == self._cluster.namespace
            and (asked.group, asked.subresource) == ("", "")
            and asked.resource in (CONFIGMAPS, SECRETS)
            and asked.operation in OPERATIONS
        )


def _entry(watch: Watch, asked: Request, told: _Told) -> Entry:
    status, detail = told.refusal or (200, told.reason or "; ".join(told.warnings))
    code = told.reason if told.refusal else None
    return Entry(watch.at, watch.seconds(), asked, told.word, status, code=code, detail=detail, webhook="policies")


def _policies_in(obj: object) -> Parcel | None:
    """What the object holds, where it is labelled as policies. Raises: MalformedError."""
    found = None if obj is None else parcel.read(obj)
    return found if found and found.labelled else None


def _secrets_of(policies: Iterable[TrustPolicy]) -> Iterable[StoredObject]:
    """From which they take keys and certificates."""
    signers = (signer for policy in policies for signer in policy.signers)
    holders = dict.fromkeys(place.entry.holder for place in places.named(signers))
    return [holder for holder in holders if holder.kind is ObjectKind.SECRET]


def _is_same(change: _Change) -> bool:
    # The files themselves, not their digests: this lets pass who may write no policy
    old, new = change.old, change.new
    return old is not None and new is not None and (old.files, old.binary) == (new.files, new.binary)


def _revisions(asked: Request, change: _Change) -> dict[str, str]:
    """Who changed what: kubernetes.md 17, guards."""
    annotations = {"user": asked.user, "configmap": change.name}
    if change.old is not None:
        annotations["old-revision"] = change.old.revision
    if change.new is not None:
        annotations["new-revision"] = change.new.revision
    return annotations


def _empties_namespace(asked: Request) -> bool:
    return asked.operation == "DELETE" and asked.user == NAMESPACE_CONTROLLER


def _enforce(policies: Iterable[TrustPolicy]) -> bool:
    return any(policy.enforces for policy in policies)


def _listed(lines: Sequence[str]) -> str:
    """As many of `lines` as a denial holds, each of them cut, and how many more there are."""
    shown: list[str] = []
    room = MESSAGE_MAX_BYTES - len(f"\nand {len(lines)} more")
    for line in lines:
        text = record.clean(line, LINE_MAX_CHARS)
        room -= len(text) + 1
        if room < 0:
            break
        shown.append(text)
    more = len(lines) - len(shown)
    return "\n".join([*shown, *([f"and {more} more"] if more else [])])


def _fewer(warnings: Sequence[str]) -> tuple[str, ...]:
    if len(warnings) <= WARNINGS_MAX:
        return tuple(warnings)
    more = len(warnings) - WARNINGS_MAX + 1
    return (*warnings[: WARNINGS_MAX - 1], f"{more} more findings: countersign policy lint tells them all")
