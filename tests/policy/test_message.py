"""What people read: exact texts of the main cases, sizes, and hostile text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.build import (
    DAY,
    DIGEST,
    HOST,
    IMAGE,
    NOTHING,
    NOW,
    VULN,
    attested,
    fingerprint,
    inconclusive,
    judge,
    keyless,
    policies,
    policy,
    rejected,
    rule,
    verified,
    wanted,
)
from webhook.errors import Code, MalformedError
from webhook.evidence.model import Form, Outcome
from webhook.oci.reference import Digest
from webhook.policy import decide, message, plain, remedies
from webhook.policy.decision import ImageDecision, Paths, Result, ReviewDecision, Stale
from webhook.policy.model import Deny, Mode, OnUnavailable, PolicyException, PolicySet, Tags
from webhook.settings import NoMatch

DENIED_MD = Path(__file__).resolve().parents[2] / "docs" / "denied.md"
INVALID = Code.SIGNATURE_INVALID
CI = keyless("ci")
PRODUCTION = policies(policy(default=rule("release", "pipeline", "ecr")))


def review(*images: ImageDecision) -> ReviewDecision:
    return decide.decide_review(images, revision="5e7f00d00d00")


def denied(loaded: PolicySet, *outcomes: Outcome, image: str = IMAGE, digest: Digest | None = DIGEST) -> str:
    return message.denial(review(judge(loaded, *outcomes, image=image, digest=digest)))


def image(
    reference: str = IMAGE,
    *,
    paths: Paths = (("spec.containers[0]", "api"),),
    result: Result = Result.DENIED,
    code: Code | None = Code.NO_POLICY,
    detail: str = "no enforcing policy speaks of this image",
    warnings: tuple[str, ...] = (),
    digest: Digest | None = None,
) -> ImageDecision:
    return ImageDecision(reference, paths, digest, result, code, detail, warnings=warnings)


GOLDEN = [
    pytest.param(
        denied(PRODUCTION, rejected(INVALID, "pipeline"), rejected(INVALID, "pipeline")),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants any of: release, pipeline, ecr
  - release   no_signature        nothing signed with this key was found for this digest
  - pipeline  signature_invalid   2 cosign signatures found, none verifies with this key
  - ecr       no_signature        nothing signed with this key was found for this digest
  sign this digest with a key that is trusted and retry: https://countersign.dev/docs/denied.md#signature_invalid""",
        id="each signer by name",
    ),
    pytest.param(
        denied(
            policies(policy(rules=(rule("release", images=(HOST,), label="rules[0]"),), owner_help="ask #security")),
            NOTHING,
            image=f"{HOST}/pay/api@{DIGEST}",
        ),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api @sha256:ab12…9f
  policy "production" (rev ab8e18e) rules[0] wants a signature by release
  - release  no_signature   nothing signed with this key was found for this digest
  sign this digest and retry: https://countersign.dev/docs/denied.md#no_signature
  ask #security""",
        id="a rule, a digest, an owner's help",
    ),
    pytest.param(
        denied(PRODUCTION, inconclusive(Code.REGISTRY_UNAVAILABLE, detail=f"{HOST}: connection refused")),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants any of: release, pipeline, ecr
  registry_unavailable: registry.example.com: connection refused
  retry when the registry answers: https://countersign.dev/docs/denied.md#registry_unavailable""",
        id="one cause for all signers",
    ),
    pytest.param(
        denied(policies(policy(default=rule("release", "b", needed=2))), verified("release"), digest=DIGEST),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants all of: release, b
  - release  verified       legacy signature by ECDSA P-256
  - b        no_signature   nothing signed with this key was found for this digest
  have the missing signers sign this digest and retry: https://countersign.dev/docs/denied.md#not_enough_signers""",
        id="one of two",
    ),
    pytest.param(
        denied(policies(policy("trial", mode=Mode.WARN, deny=(Deny("CVE-2026-1", digest=DIGEST),)))),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "trial" (rev 79891e9) deny[0]: blocked: CVE-2026-1
  use another image: https://countersign.dev/docs/denied.md#blocked""",
        id="blocked",
    ),
    pytest.param(
        denied(policies(policy(default=rule("a"), tags=Tags.DENY)), digest=None),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4
  policy "production" (rev ab8e18e) tags: tag_not_allowed: the reference has no digest, and this policy demands one
  write the reference with its digest: https://countersign.dev/docs/denied.md#tag_not_allowed""",
        id="a tag",
    ),
    pytest.param(
        denied(policies(), digest=None),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4
  no_policy: no policy is loaded; policies are looked for in /etc/countersign/policies
  add a policy that speaks of this image: https://countersign.dev/docs/denied.md#no_policy""",
        id="no policy",
    ),
    pytest.param(
        message.denial(
            review(
                decide.unparsable_image(
                    "UPPER\n",
                    (("spec.initContainers[1]", "setup"), ("spec.containers[0]", "api")),
                    MalformedError(Code.REFERENCE_INVALID, "lower case expected"),
                )
            )
        ),
        """\
init container "setup" (spec.initContainers[1]) and 1 more: 'UPPER\\n'
  reference_invalid: lower case expected
  correct the reference: https://countersign.dev/docs/denied.md#reference_invalid""",
        id="no reference",
    ),
    pytest.param(
        message.denial(
            review(
                judge(PRODUCTION, inconclusive(Code.REGISTRY_UNAVAILABLE), image=f"{HOST}/b:1"),
                judge(PRODUCTION, verified("release"), image=f"{HOST}/good:1"),
                judge(PRODUCTION, NOTHING, image=f"{HOST}/a:1"),
            )
        ),
        """\
container "api" (spec.containers[0]): registry.example.com/a:1 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants any of: release, pipeline, ecr
  - release   no_signature   nothing signed with this key was found for this digest
  - pipeline  no_signature   nothing signed with this key was found for this digest
  - ecr       no_signature   nothing signed with this key was found for this digest
container "api" (spec.containers[0]): registry.example.com/b:1 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants any of: release, pipeline, ecr
  registry_unavailable: it did not answer
  sign this digest and retry: https://countersign.dev/docs/denied.md#no_signature
  retry when the registry answers: https://countersign.dev/docs/denied.md#registry_unavailable""",
        id="the worst first, the good one not at all",
    ),
    pytest.param(
        denied(
            policies(policy(default=rule("release", CI))),
            rejected(INVALID, "release"),
            rejected(Code.IDENTITY_MISMATCH, CI, "subject 'bob@example.com' found, 'ci@example.com' expected"),
        ),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants any of: release, ci
  - release  signature_invalid   1 cosign signature found, it does not verify with this key
  - ci       identity_mismatch   subject 'bob@example.com' found, 'ci@example.com' expected
  sign this digest as one whom the policy trusts and retry: https://countersign.dev/docs/denied.md#identity_mismatch""",
        id="an identity",
    ),
    pytest.param(
        denied(
            policies(policy(default=rule("release", attestations=(wanted(CI), wanted(CI, kind=VULN, max_age=DAY))))),
            verified("release"),
            attested(CI),
            attested(CI, kind=VULN, at=NOW - 2 * DAY),
        ),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants a signature by release and attestations https://slsa.dev/provenance/v1 (by ci), https://cosign.sigstore.dev/attestation/vuln/v1 (by ci)
  - release                      verified       legacy signature by ECDSA P-256
  - attestation slsaprovenance1  verified       attestation by ECDSA P-256
  - attestation vuln             time_invalid   its time is 2026-11-19 12:00:00Z, more than 1d ago
  sign or attest this digest again and retry: https://countersign.dev/docs/denied.md#time_invalid""",  # noqa: E501
        id="attestations after the signers",
    ),
    pytest.param(
        denied(policies(policy(default=rule(needed=0, attestations=(wanted(CI),)))), NOTHING),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants attestations https://slsa.dev/provenance/v1 (by ci)
  - attestation slsaprovenance1  no_signature   no attestation of type https://slsa.dev/provenance/v1 was found for this digest
  attach the attestation that is missing to this digest and retry: https://countersign.dev/docs/denied.md#no_signature""",  # noqa: E501
        id="nothing but an attestation",
    ),
    pytest.param(
        denied(
            policies(policy(default=rule("a", attestations=(wanted(CI),)))),
            inconclusive(Code.REGISTRY_UNAVAILABLE, detail=f"{HOST}: connection refused"),
        ),
        """\
container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f
  policy "production" (rev ab8e18e) wants a signature by a and attestations https://slsa.dev/provenance/v1 (by ci)
  registry_unavailable: registry.example.com: connection refused
  retry when the registry answers: https://countersign.dev/docs/denied.md#registry_unavailable""",
        id="one cause for signers and attestations",
    ),
]


@pytest.mark.parametrize(("found", "expected"), GOLDEN)
def test_denial(found: str, expected: str) -> None:
    assert found == expected
    assert len(found.encode()) <= message.MAX_MESSAGE_BYTES


def test_nothing_to_say_of_what_is_allowed() -> None:
    allowed = review(judge(PRODUCTION, verified("ecr")))
    assert message.denial(allowed) == ""
    assert message.warnings(allowed) == ()
    assert message.retry_after(allowed) is None


class TestSize:
    def test_a_hundred_containers_are_listed_or_counted(self) -> None:
        images = [judge(PRODUCTION, NOTHING, image=f"{HOST}/team/{'service-' * 4}{n}:1.4") for n in range(100)]
        text = message.denial(review(*images))
        assert len(text.encode()) <= message.MAX_MESSAGE_BYTES
        listed = text.count("spec.containers[0]")
        (more,) = re.findall(r"^and (\d+) more images are not admitted$", text, re.MULTILINE)
        assert listed >= 5
        assert listed + int(more) == 100
        assert text.endswith("sign this digest and retry: https://countersign.dev/docs/denied.md#no_signature")

    def test_a_few_are_all_listed_with_their_code(self) -> None:
        images = [judge(PRODUCTION, NOTHING, image=f"{HOST}/team/api-{n}:1.4") for n in range(12)]
        text = message.denial(review(*images))
        assert len(text.encode()) <= message.MAX_MESSAGE_BYTES
        assert text.count("(spec.containers[0])") == 12
        assert f"{HOST}/team/api-11:1.4 @sha256:ab12…9f: no_signature\n" in text
        assert "more images" not in text

    def test_many_signers_are_counted(self) -> None:
        text = denied(policies(policy(default=rule(*(f"signer-{n}" for n in range(50))))), NOTHING)
        assert len(text.encode()) <= message.MAX_MESSAGE_BYTES
        assert "  and 42 more signers\n" in text

    def test_many_attestations_are_counted_and_hide_none_that_fails(self) -> None:
        demands = tuple(wanted("a", kind=f"https://example.com/{n}") for n in range(9))
        signers = tuple(f"signer-{n}" for n in range(50))
        demand = rule(*signers, attestations=demands)
        found = [verified("signer-1"), *(attested("a", kind=f"https://example.com/{n}") for n in range(8))]
        text = denied(policies(policy(default=demand)), *found)
        assert len(text.encode()) <= message.MAX_MESSAGE_BYTES
        assert "  and 5 more attestations\n" in text
        assert "  - attestation example.com/8  no_signature   no attestation of type" in text

    def test_many_policies_are_counted(self) -> None:
        text = denied(policies(*(policy(f"p{n}", default=rule("a")) for n in range(9))), NOTHING)
        assert "  and 6 more policies\n" in text

    @given(
        st.lists(
            st.tuples(st.text(max_size=300), st.text(max_size=80), st.text(max_size=400), st.sampled_from(Code)),
            min_size=1,
            max_size=30,
        ),
        st.text(max_size=600),
    )
    def test_never_over_the_limit(self, texts: list[tuple[str, str, str, Code]], words: str) -> None:
        loaded = policies(policy(words, default=rule("a", words, "c"), owner_help=words, deny=(Deny(words),)))
        images = [
            image(text, paths=(("spec.volumes[0].image", name),), detail=detail, code=code)
            for text, name, detail, code in texts
        ]
        images += [judge(loaded, rejected(INVALID, "a", words), inconclusive(code, detail=words)) for *_, code in texts]
        found = review(*images)
        text = message.denial(found)
        assert len(text.encode()) <= message.MAX_MESSAGE_BYTES
        assert text.replace("\n", "").isprintable()
        assert all(0 < len(w) <= 256 and w.isprintable() for w in message.warnings(found))
        assert all(len(v.encode()) < 1024 and v.isprintable() for v in message.audit_annotations(found).values())

    def test_an_owners_letters_are_kept_and_cut_by_bytes(self) -> None:
        loaded = policies(policy(default=rule("a"), owner_help="連絡先" * 100, deny=()))
        last = denied(loaded, NOTHING).splitlines()[-1]
        assert last.startswith("  連絡先連絡先")
        assert last.endswith("…")
        assert len(last.encode()) <= 202

    def test_one_image_with_everything_long(self) -> None:
        long = "理" * 300
        members = [
            policy(f"p{n}", default=rule(*(f"{long}{m}" for m in range(12))), deny=(), owner_help=long)
            for n in range(4)
        ]
        text = denied(policies(*members), NOTHING)
        assert len(text.encode()) <= message.MAX_MESSAGE_BYTES
        assert re.search(r"^  … \d+ more lines$", text, re.MULTILINE)
        assert "#no_signature" in text.splitlines()[-2]


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param("x\nadmission webhook says yes", id="newline"),
        pytest.param("x\x00y", id="NUL"),
        pytest.param("\x1b[2Jx", id="terminal escape"),
        pytest.param("x\u202ey", id="bidi"),
        pytest.param("g\u04bbcr.io/x", id="look-alike"),
        pytest.param("x\ud800y", id="surrogate"),
        pytest.param('x" (spec.containers[1]): ghcr.io/good', id="forged heading"),
        pytest.param("é" * 4096, id="long"),
    ],
)
def test_hostile_text_is_quoted_and_cut(hostile: str) -> None:
    bad = image(hostile, paths=(("spec.containers[0]", hostile),), detail=hostile, warnings=(hostile,))
    found = review(bad)
    heading, why, remedy = message.denial(found).splitlines()
    assert heading.startswith("container '")
    assert heading.replace("…", "").isascii()
    assert len(heading) <= 63 + plain.MAX_CHARS + 40
    assert why.replace("…", "").isascii()
    assert len(why) <= plain.MAX_CHARS + 20
    assert remedy.endswith("#no_policy")
    (warning,) = message.warnings(found)
    assert warning.isprintable()
    assert len(warning) <= 256


def test_a_signers_foreign_detail_is_escaped() -> None:
    text = denied(
        policies(policy(default=rule("a"))), rejected(Code.SUBJECT_MISMATCH, "a", "names \x1b[1m\u0433hcr.io")
    )
    assert "- a  subject_mismatch   names \\x1b[1m\\u0433hcr.io\n" in text


def test_what_an_attestation_said_is_escaped_and_cut() -> None:
    demand = rule(needed=0, attestations=(wanted("a"),))
    hostile = rejected(Code.CONDITION_ERROR, "a", "saw \x1b[1m\u0433" + "x" * 999, form=Form.DSSE)
    text = denied(policies(policy(default=demand)), hostile)
    (line,) = [line for line in text.splitlines() if "condition_error   " in line]
    assert line.startswith("  - attestation slsaprovenance1  condition_error   saw \\x1b[1m\\u0433xxx")
    assert len(line) <= 51 + plain.MAX_CHARS


class TestImageLines:
    def test_verified(self) -> None:
        lines = message.image_lines(judge(PRODUCTION, verified("ecr")))
        assert lines == (
            'container "api" (spec.containers[0]): registry.example.com/pay/api:1.4 @sha256:ab12…9f',
            '  policy "production" (rev ab8e18e): verified: signed by ecr',
        )

    def test_a_warn_policy_says_what_it_wants(self) -> None:
        trial = policy("trial", mode=Mode.WARN, default=rule("a"))
        lines = message.image_lines(judge(policies(trial), NOTHING, no_match=NoMatch.WARN))
        assert lines[1:] == (
            '  policy "trial" (rev 79891e9) only warns, wants a signature by a',
            "  - a  no_signature   nothing signed with this key was found for this digest",
        )

    def test_a_tag_in_a_warn_policy(self) -> None:
        trial = policy("trial", mode=Mode.WARN, tags=Tags.DENY)
        lines = message.image_lines(judge(policies(trial), no_match=NoMatch.WARN))
        assert lines[1].startswith('  policy "trial" (rev 79891e9) tags only warns: tag_not_allowed: the reference')

    def test_unchanged(self) -> None:
        lines = message.image_lines(decide.unchanged_image("x:1", ()))
        assert lines == ("x:1", "  unchanged: unchanged by this request")

    def test_a_blocked_key(self) -> None:
        stolen = policy("production", default=rule("a"), deny=(Deny("stolen", key_fingerprint=fingerprint("a")),))
        lines = message.image_lines(judge(policies(stolen), verified("a")))
        assert lines[1:3] == (
            '  policy "production" (rev ab8e18e) wants a signature by a',
            "  - a  blocked   policy production blocks this key: stolen",
        )


class TestWarnings:
    def test_of_a_warn_policy(self) -> None:
        trial = policy("trial", mode=Mode.WARN, default=rule("a"))
        found = judge(policies(trial), NOTHING, no_match=NoMatch.ALLOW)
        (warning,) = message.warnings(review(found, found))
        assert warning == f'{IMAGE}: policy "trial" would deny it: no_signature'
        assert len(warning) <= 120

    def test_of_an_exception_and_a_digest(self) -> None:
        soon = PolicyException(DIGEST, ("pay",), NOW + timedelta(days=1), "vendor signs soon")
        found = judge(policies(policy(default=rule("a"), exceptions=(soon,))), image=f"{HOST}/x@{DIGEST}")
        assert message.warnings(review(found)) == (
            f'{HOST}/x@sha256:ab12…9f: policy "production": {found.policies[0].loud}',
        )

    def test_of_an_unavailable_registry(self) -> None:
        loaded = policies(policy(default=rule("a", on_unavailable=OnUnavailable.ALLOW)))
        found = judge(loaded, inconclusive(Code.RATE_LIMITED), candidates_listed=False)
        assert message.warnings(review(found)) == (
            f'{IMAGE}: policy "production": admitted without verification (onUnavailable: allow): rate_limited',
        )

    def test_at_most_five(self) -> None:
        found = message.warnings(review(*(image(f"x:{n}", warnings=("w",)) for n in range(9))))
        assert found == ("x:0: w", "x:1: w", "x:2: w", "x:3: w", "5 more warnings about the images of this object")
        assert len(message.warnings(review(*(image(f"x:{n}", warnings=("w",)) for n in range(5))))) == 5

    def test_a_long_reference_keeps_its_end(self) -> None:
        (warning,) = message.warnings(review(image(f"{HOST}/{'a' * 200}/api:1.4", warnings=("w",))))
        assert warning.endswith("aaa/api:1.4: w")
        assert len(warning) == 60 + 3


class TestAuditAnnotations:
    def test_of_a_denial(self) -> None:
        found = review(judge(PRODUCTION, NOTHING), judge(PRODUCTION, verified("ecr"), image=f"{HOST}/x:1"))
        assert message.audit_annotations(found) == {
            "decision": "deny",
            "policy": "production",
            "digests": str(DIGEST),
            "reason": "no_signature",
            "policy-revision": "5e7f00d00d00",
        }

    @pytest.mark.parametrize(
        ("images", "decision", "reason"),
        [
            ([image(result=Result.VERIFIED, code=None), image(result=Result.EXCEPTION, code=None)], "allow",
             "verified,exception"),
            ([image(result=Result.VERIFIED, code=None), image(result=Result.WARNED, code=Code.NO_SIGNATURE)], "warn",
             "no_signature,verified"),
            ([image(result=Result.UNCHANGED, code=None)], "skip", "unchanged"),
            ([image(result=Result.UNCHANGED, code=None), image(result=Result.EXEMPT, code=None)], "allow",
             "unchanged,exempt"),
            ([], "skip", None),
            ([image(result=Result.ERROR, code=Code.RATE_LIMITED)], "error", "rate_limited"),
            ([image(result=Result.ERROR, code=Code.RATE_LIMITED), image()], "deny", "no_policy,rate_limited"),
        ],
        ids=["allow", "warn", "skip", "one judged", "no images", "error", "deny"],
    )  # fmt: skip
    def test_decision_and_reason(self, images: list[ImageDecision], decision: str, reason: str | None) -> None:
        found = message.audit_annotations(review(*images))
        assert found["decision"] == decision
        assert found.get("reason") == reason
        assert "digests" not in found

    def test_what_stands_in_for_a_newer_answer_is_told_and_bounded(self) -> None:
        stale = {Stale.PRESENCE: "2026-11-21T12:00:00Z: rate_limited: '\u202e'", Stale.KEY: "x" * 5000}
        admitted = image(result=Result.VERIFIED, code=None)
        found = message.audit_annotations(review(replace(admitted, stale=stale)))["stale"]
        assert found.startswith("presence: 2026-11-21T12:00:00Z: rate_limited: '\\u202e',key: xxx")
        assert len(found) < 300
        assert "stale" not in message.audit_annotations(review(admitted))

    def test_digests_are_whole_and_counted(self) -> None:
        images = [image(digest=Digest("sha256", f"{n:064x}"), result=Result.VERIFIED, code=None) for n in range(100)]
        digests = message.audit_annotations(review(*images))["digests"]
        *whole, more = digests.split(",")
        assert whole == [f"sha256:{n:064x}" for n in range(len(whole))]
        assert more == f"and {100 - len(whole)} more"
        assert len(digests) < 1024


@pytest.mark.parametrize(
    ("codes", "seconds"),
    [
        ([Code.REGISTRY_UNAVAILABLE], 1),
        ([Code.DEADLINE_EXCEEDED, Code.RATE_LIMITED], 2),
        ([Code.OVERLOADED], 2),
        ([Code.NOT_PINNED], 1),
        ([Code.TRUST_UNAVAILABLE], 2),
        ([Code.ACCESS_DENIED], None),
        ([Code.POLICY_UNAVAILABLE], None),
        ([Code.INTERNAL_ERROR], None),
        ([Code.REGISTRY_UNAVAILABLE, Code.ACCESS_DENIED], None),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)
def test_retry_after(codes: list[Code], seconds: int | None) -> None:
    found = [image(result=Result.ERROR, code=code) for code in codes]
    assert message.retry_after(review(*found, image(result=Result.VERIFIED, code=None))) == seconds
    assert message.retry_after(review(*found, image())) is None


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_remedy_and_a_section(code: Code) -> None:
    assert remedies.REMEDIES[code]
    assert re.search(rf"^## {code}$", DENIED_MD.read_text(), re.MULTILINE)


def test_no_section_without_a_code() -> None:
    assert set(re.findall(r"^## (.*)$", DENIED_MD.read_text(), re.MULTILINE)) == set(Code)
