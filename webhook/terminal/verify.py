"""`verify`: one image, judged as the webhook would judge it, and told to the last signature.

The same verifier works here as in the server; what differs is who says what is trusted: policy files, or keys and
profiles, which make a policy for this one run. Registries on loopback or plain HTTP are only those that the command
line names.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from webhook import judging
from webhook.errors import OperatorError
from webhook.evidence.model import Evidence
from webhook.judging import Judgement, Question
from webhook.oci.registry import RequestKind
from webhook.policy.model import PolicySet
from webhook.settings import Settings
from webhook.terminal import configured as configuration
from webhook.terminal import facts, given, report, verifying
from webhook.terminal.findings import Run
from webhook.terminal.paper import Output, Paper
from webhook.verification import Pending

PATHS = (("", ""),)  # the image stands in no object


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whom a certificate must name, where that was asked, and the file with the trust root that says so."""

    issuer: str | None = None
    issuer_regexp: str | None = None
    subject: str | None = None
    subject_regexp: str | None = None
    trusted_root: Path | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked on the command line."""

    image: str
    keys: tuple[str, ...]  # files, or in AWS KMS
    profiles: tuple[str, ...]  # ARNs
    certificate: Certificate
    policies: tuple[Path, ...]
    namespace: str
    timeout: float
    insecure: tuple[str, ...]
    private: tuple[str, ...]


def run(wanted: Wanted, configured: Settings, *, output: Output, paper: Paper) -> int:
    """The image was verified, and all that was found is told. Raises: OperatorError."""
    given.image(wanted.image)
    policies = _demanded(wanted, configured)
    configured = configuration.with_hosts(
        configured, asked=(wanted.image,), insecure=wanted.insecure, private=wanted.private
    )
    endpoints = (*configured.aws.kms_endpoints, *given.kms_endpoints(wanted.keys))
    configured = replace(configured, aws=replace(configured.aws, kms_endpoints=endpoints))
    result = asyncio.run(_verify(wanted, policies, configured))
    if output is Output.JSON:
        paper.document(facts.verification(result))
    else:
        report.write(result, paper)
    return result.ending.exit_code


def _demanded(wanted: Wanted, configured: Settings) -> PolicySet:
    asked = wanted.certificate
    named = bool(wanted.keys or wanted.profiles)
    given_ways = sum((named, bool(wanted.policies), replace(asked, trusted_root=None) != Certificate()))
    if given_ways != 1:
        found = "more than one" if given_ways else "none"
        raise OperatorError(
            f"one of --key or --profile, --certificate-identity and --policy expected, found {found}: "
            "what should the image be held against?"
        )
    if asked.trusted_root and (named or wanted.policies):
        raise OperatorError("--trusted-root: it is for --certificate-identity; a policy names its own under trustRoots")
    if named:
        return given.signers(keys=wanted.keys, profiles=wanted.profiles)
    if wanted.policies:
        return given.policies(wanted.policies, configured.policy)
    return given.identities(
        issuer=asked.issuer,
        issuer_regexp=asked.issuer_regexp,
        subject=asked.subject,
        subject_regexp=asked.subject_regexp,
        trusted_root=asked.trusted_root,
    )


async def _verify(wanted: Wanted, policies: PolicySet, configured: Settings) -> Run:
    requests = 0
    judged: list[Judgement] = []

    def count(kind: RequestKind, host: str, status: int, seconds: float) -> None:
        nonlocal requests
        requests += 1

    async def judge(evidence: Evidence, question: Question) -> Judgement:
        judged.append(await asyncio.to_thread(judging.judge, evidence, question))
        return judged[-1]

    async with verifying.prepare(configured, policies, observe=count, judge=judge) as verifier:
        started = time.perf_counter()
        now = datetime.now(UTC)
        found = verifier.begin(wanted.image, paths=PATHS, namespace=wanted.namespace, policies=policies, now=now)
        if isinstance(found, Pending):
            found = await verifier.finish(found, deadline=asyncio.get_running_loop().time() + wanted.timeout)
        seconds = time.perf_counter() - started
    # Counted last: requests that nobody waited for were sent all the same.
    return Run(found, wanted.namespace, seconds, requests, tuple(judged))
