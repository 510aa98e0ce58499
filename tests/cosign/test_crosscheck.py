"""The second implementation beside ours: where both can judge it agrees, and what comes of it where it does not.

What we accept and sigstore-python refuses is made here: a token at the very end of the clock's window, which belongs to
it for us and not for that library; and bundles in the odd spelling of a JSON that it does not take. While it is off, no
process imports it.
"""

from __future__ import annotations

import json
import logging
import pickle
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.cases import BUNDLES, Case
from tests.cosign import made
from tests.doubles import verifying
from tests.doubles.registry import HostileRegistry
from tests.doubles.verifying import Cluster, told
from tests.private_sigstore import images
from tests.private_sigstore.asked import IMAGE, OURS, STRANGER, Asked
from tests.private_sigstore.documents import Document, edit
from tests.private_sigstore.images import Attach, Fields, bundle, signature, under
from tests.private_sigstore.instance import AT, YEAR, Window, key_of
from tests.test_runtime import answer, request, running
from webhook import judging, settings, wire, workers
from webhook.audit.sinks import Metrics
from webhook.cosign import crosscheck
from webhook.errors import Code
from webhook.evidence.model import Evidence, Form, Verdict, Wants
from webhook.judging import Question
from webhook.oci.reference import Digest
from webhook.policy.decision import Result
from webhook.settings import Crosscheck
from webhook.trust.at_hand import Trust

ROOT = Path(__file__).resolve().parents[2]
SLSA = images.SLSA
LATER: dict[str, Window] = {
    "clock": (AT - YEAR, AT + timedelta(seconds=7))
}  # it ends in the second in which it stamped
KEYLESS = [case for case in BUNDLES if "key" not in case.files]
THEIRS = {"sigstore", "sigstore_models", "rfc3161_client", "rfc8785", "securesystemslib"}
LIBRARIES = THEIRS | {"tuf", "urllib3", "requests"}


def evidence(data: bytes) -> Evidence:
    return made.evidence(Form.BUNDLE, data, {}, subject=Digest("sha256", IMAGE.removeprefix("sha256:")))


def asked(mode: Crosscheck, *, windows: dict[str, Window] | None = None, predicates: frozenset[str] = frozenset(),
          signers: tuple[Asked, ...] = ()) -> Question:  # fmt: skip
    trusted = Asked(root=OURS.trusted_root(windows=windows))
    by = tuple(one.signer() for one in signers or (trusted,))
    return Question(by, (), Wants(predicates=predicates), Trust(), {}, AT, mode)


def judge(data: bytes, question: Question) -> tuple[str, str]:
    """What comes of it, and what the cross-check says."""
    [outcome] = judging.judge(evidence(data), question).outcomes
    return str(outcome.code or outcome.verdict), outcome.facts.get(judging.CROSSCHECK, "")


# --- where both can judge


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in KEYLESS])
def test_it_agrees_on_every_real_bundle_that_we_accept_and_it_can_judge(case: Case) -> None:
    data = case.read("bundle")
    assert case.root is not None
    if case.code:  # it is asked only of what we accept: most of these cannot even be read
        return
    found = made.evidence(Form.BUNDLE, data, {})
    judged = "dsseEnvelope" in json.loads(data) and case.id not in NOT_JUDGED

    assert crosscheck.disagreement(found, case.root) == ("" if judged else None)


NOT_JUDGED = {
    "bundles/leaf-PKIX_ECDSA_P384_SHA_384",
    "bundles/leaf-PKIX_RSA_PKCS1V15_3072_SHA256",
    "conformance/intoto-with-custom-trust-root",
    "bundles/othername-san",  # an authority without a name, and it cannot read such a root
}

AGREED: dict[str, Callable[[], bytes]] = {
    "Rekor 1": lambda: OURS.keyless_bundle(IMAGE),
    "Rekor 1, stamped": lambda: OURS.keyless_bundle(IMAGE, timestamp=True),
    "Rekor 1, stamped, not promised": lambda: OURS.keyless_bundle(IMAGE, timestamp=True, promise=False),
    "Rekor 2": lambda: OURS.keyless_bundle(IMAGE, log="v2"),
    "Rekor 2, token without certificate": lambda: OURS.keyless_bundle(IMAGE, log="v2", embed=False),
    "version 0.2": lambda: OURS.keyless_bundle(IMAGE, version="0.2"),
    "version 0.1": lambda: OURS.keyless_bundle(IMAGE, version="0.1"),
}
CANNOT: dict[str, Callable[[], bytes]] = {
    "version 0.1 without proof": lambda: OURS.keyless_bundle(IMAGE, version="0.1", proof=False),
    "intoto entry": lambda: OURS.keyless_bundle(IMAGE, entry="intoto 0.0.2"),
    "P-384": lambda: OURS.keyless_bundle(IMAGE, key=key_of("p384")),
    "RSA": lambda: OURS.keyless_bundle(IMAGE, key=key_of("rsa2048")),
    "two entries": lambda: edit(
        OURS.keyless_bundle(IMAGE), ("verificationMaterial", "tlogEntries"),
        lambda own: [*own, *json.loads(STRANGER.keyless_bundle(IMAGE))["verificationMaterial"]["tlogEntries"]],
    ),
}  # fmt: skip
DISAGREED: dict[str, tuple[Callable[[], bytes], dict[str, Window] | None, str]] = {
    "token at the end of the window": (
        lambda: OURS.keyless_bundle(IMAGE, log="v2"), LATER, "not enough sources of verified time",
    ),
    "a number where it wants text": (
        lambda: edit(OURS.keyless_bundle(IMAGE), ("verificationMaterial", "tlogEntries", 0, "integratedTime"), int),
        None, "InvalidBundle",
    ),
    "a member that nobody knows": (
        lambda: edit(OURS.keyless_bundle(IMAGE), ("dsseEnvelope", "signatures"), lambda own: [{**own[0], "x": 1}]),
        None, "InvalidBundle",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", list(Crosscheck))
@pytest.mark.parametrize("name", AGREED)
def test_where_both_agree_it_is_verified_whatever_the_setting(name: str, mode: Crosscheck) -> None:
    said = "" if mode is Crosscheck.OFF else "agreed"
    assert judge(AGREED[name](), asked(mode)) == ("verified", said)


@pytest.mark.parametrize("mode", list(Crosscheck))
@pytest.mark.parametrize("name", CANNOT)
def test_what_it_cannot_judge_is_verified_and_said_not_to_be_judged(name: str, mode: Crosscheck) -> None:
    said = "" if mode is Crosscheck.OFF else "not_judged"
    assert judge(CANNOT[name](), asked(mode)) == ("verified", said)


@pytest.mark.parametrize("name", DISAGREED)
def test_where_it_refuses_only_enforce_does(name: str) -> None:
    make, windows, words = DISAGREED[name]
    data = make()

    assert judge(data, asked(Crosscheck.OFF, windows=windows)) == ("verified", "")
    verdict, said = judge(data, asked(Crosscheck.REPORT, windows=windows))
    assert (verdict, words in said) == ("verified", True), said
    assert judge(data, asked(Crosscheck.ENFORCE, windows=windows)) == ("crosscheck_disagreement", "")


def nameless(document: Document) -> object:
    """A root whose authorities have no name: `subject` is optional."""
    for name in ("certificateAuthorities", "timestampAuthorities"):
        for authority in document[name]:  # type: ignore[attr-defined]
            del authority["subject"]
    return document


@pytest.mark.parametrize(
    ("make", "signer"),
    [
        (OURS.keyless_bundle, Asked(root=OURS.trusted_root(change=nameless))),
        (partial(OURS.keyless_bundle, leaf=OURS.leaf(logs=())), Asked(sct=False)),
        (OURS.keyless_bundle, Asked(root=OURS.trusted_root(without=["ct"]), sct=False)),
        (partial(OURS.keyless_bundle, timestamp=True), Asked(root=OURS.trusted_root(without=["rekor"]), log=False)),
    ],
    ids=["root without names", "no SCT demanded", "no log of certificates", "no log demanded"],
)
def test_a_root_under_which_it_cannot_judge_is_no_disagreement(make: Callable[[str], bytes], signer: Asked) -> None:
    assert judge(make(IMAGE), asked(Crosscheck.ENFORCE, signers=(signer,))) == ("verified", "not_judged")


def test_attestations_are_shown_to_it_too() -> None:
    good = OURS.keyless_bundle(IMAGE, predicate_type=SLSA, log="v2")
    for windows, expected in ((None, ("attested", "agreed")), (LATER, ("crosscheck_disagreement", ""))):
        question = asked(Crosscheck.ENFORCE, windows=windows, predicates=frozenset({SLSA}))
        assert judge(good, question) == expected


def test_what_we_refuse_is_not_shown_to_it() -> None:
    for data in (OURS.keyless_bundle(IMAGE, subject="mallory@example.com"), STRANGER.keyless_bundle(IMAGE), b"{"):
        verdict, said = judge(data, asked(Crosscheck.ENFORCE))
        assert verdict != "verified"
        assert verdict != Code.CROSSCHECK_DISAGREEMENT
        assert said == ""


def test_keys_and_legacy_signatures_are_not_judged() -> None:
    payload, annotations = OURS.legacy_signature(IMAGE)
    legacy = made.evidence(Form.LEGACY, payload, annotations, subject=evidence(b"").subject)
    [outcome] = judging.judge(legacy, asked(Crosscheck.ENFORCE)).outcomes
    assert (outcome.verdict, outcome.facts[judging.CROSSCHECK]) == (Verdict.VERIFIED, "not_judged")

    by_key = asked(Crosscheck.ENFORCE, signers=(Asked(key=key_of("p256")),))
    [outcome] = judging.judge(evidence(OURS.key_bundle(IMAGE)), by_key).outcomes
    assert (outcome.verdict, judging.CROSSCHECK in outcome.facts) == (Verdict.VERIFIED, False)


def test_each_signer_is_cross_checked_under_its_own_root() -> None:
    both = (Asked(), Asked(root=OURS.trusted_root(windows=LATER)))
    outcomes = judging.judge(
        evidence(OURS.keyless_bundle(IMAGE, log="v2")), asked(Crosscheck.ENFORCE, signers=both)
    ).outcomes
    assert [outcome.code for outcome in outcomes] == [None, Code.CROSSCHECK_DISAGREEMENT]


async def test_a_worker_says_the_same() -> None:
    pool = workers.Workers(settings.Verification(time_limit=120.0, crosscheck=Crosscheck.REPORT))
    question = asked(Crosscheck.REPORT, windows=LATER)
    found = evidence(OURS.keyless_bundle(IMAGE, log="v2"))
    try:
        judgement = await pool.judge(found, question)
    finally:
        await pool.close()
    assert judgement == judging.judge(found, question)
    assert "sigstore-python refuses it" in judgement.outcomes[0].facts[judging.CROSSCHECK]


# --- as images


@asynccontextmanager
async def opened(mode: Crosscheck) -> AsyncIterator[tuple[Cluster, list[str]]]:
    """A cluster with that setting, and what is counted of it."""
    counted: list[str] = []
    async with verifying.opened(stored=HostileRegistry()) as cluster:
        cluster.verifier.crosscheck, cluster.verifier.means.crosschecked = mode, counted.append
        yield cluster, counted


async def verified(
    cluster: Cluster, put: Attach, fields: Fields, *, mode: str = "enforce"
) -> tuple[Result, Code | None]:
    image = cluster.image()
    put(cluster, image)
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "production"}}
    cluster.policies[:] = [{**head, "spec": images.spec(**fields, mode=mode)}]
    return told(await cluster.verify(f"@{image}"))


STAMPED, ENDED = bundle(log="v2"), under(windows=LATER)
VERIFIED = Result.VERIFIED, None
REFUSED = Result.DENIED, Code.CROSSCHECK_DISAGREEMENT


@pytest.mark.parametrize(
    ("mode", "put", "fields", "expected", "counted"),
    [
        pytest.param(Crosscheck.OFF, STAMPED, ENDED, VERIFIED, [], id="off"),
        pytest.param(Crosscheck.REPORT, STAMPED, {}, VERIFIED, ["agreed"], id="report, agreed"),
        pytest.param(Crosscheck.REPORT, STAMPED, ENDED, VERIFIED, ["disagreed"], id="report, disagreed"),
        pytest.param(Crosscheck.REPORT, signature(), {}, VERIFIED, ["not_judged"], id="report, not judged"),
        pytest.param(Crosscheck.ENFORCE, STAMPED, {}, VERIFIED, ["agreed"], id="enforce, agreed"),
        pytest.param(Crosscheck.ENFORCE, STAMPED, ENDED, REFUSED, ["disagreed"], id="enforce, disagreed"),
        pytest.param(Crosscheck.ENFORCE, signature(), {}, VERIFIED, ["not_judged"], id="enforce, not judged"),
        pytest.param(Crosscheck.ENFORCE, bundle(key=key_of("p384")), {}, VERIFIED, ["not_judged"], id="enforce, P-384"),
    ],
)  # fmt: skip
async def test_what_becomes_of_an_image(
    mode: Crosscheck,
    put: Attach,
    fields: Fields,
    expected: tuple[Result, Code | None],
    counted: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(mode) as (cluster, told_of):
        with caplog.at_level(logging.WARNING, logger="webhook.searching"):
            assert await verified(cluster, put, fields) == expected
    assert told_of == counted
    lines = [record.getMessage() for record in caplog.records if record.name == "webhook.searching"]
    assert len(lines) == counted.count("disagreed")
    if lines:
        assert lines[0].startswith("cross-check of sha256:")
        assert "not enough sources of verified time" in lines[0]


async def test_enforce_in_a_policy_that_only_warns_warns() -> None:
    async with opened(Crosscheck.ENFORCE) as (cluster, _):
        cluster.verifier.no_match = settings.NoMatch.ALLOW
        warned = await verified(cluster, STAMPED, ENDED, mode="warn")
    assert warned == (Result.WARNED, Code.CROSSCHECK_DISAGREEMENT)


async def test_one_bundle_on_which_both_agree_is_enough() -> None:
    async with opened(Crosscheck.ENFORCE) as (cluster, counted):
        both = images.all_of(bundle(log="v2"), bundle())
        assert await verified(cluster, both, ENDED) == VERIFIED
    assert "agreed" in counted


def test_every_result_is_a_metric() -> None:
    metrics = Metrics(hosts={}, version="1")
    for result in ("agreed", "not_judged", "disagreed"):
        metrics.crosschecked(result)
        assert metrics.registry.get_sample_value("countersign_crosscheck_total", {"result": result}) == 1


# --- what is imported

IMPORTED = "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"


def modules(*arguments: str, stdin: bytes = b"") -> tuple[set[str], bytes]:
    """The packages that a process of its own has imported, and what it said; `-X importtime` lists each on stderr."""
    done = subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, check=True, timeout=120, cwd=ROOT
    )
    return imported(done.stderr), done.stdout


def imported(listed: bytes) -> set[str]:
    lines = (line for line in listed.decode().splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_the_server_imports_nothing_that_it_may_never_need() -> None:
    _, out = modules("-c", f"import sys, webhook.runtime; {IMPORTED}")
    assert set(out.decode().split()) & LIBRARIES == set()


@pytest.mark.parametrize("mode", list(Crosscheck))
def test_a_worker_imports_the_library_only_where_it_is_asked(mode: Crosscheck) -> None:
    task = pickle.dumps(wire.Told().task(evidence(OURS.keyless_bundle(IMAGE, log="v2")), asked(mode)))
    message = struct.pack("!Q", len(task)) + task
    found, out = modules("-X", "importtime", "-m", "webhook.workers", mode.value, stdin=message)

    assert out.startswith(workers.STARTED)
    answer = out.removeprefix(workers.STARTED)
    [length] = struct.unpack("!Q", answer[:8])
    assert length == len(answer) - 8
    assert b"verified" in out
    assert "cryptography" in found
    if mode is Crosscheck.OFF:
        assert found & LIBRARIES == set()
    else:
        assert {"sigstore", "rfc3161_client"} <= found


@pytest.mark.parametrize(
    ("mode", "workers", "loaded"),
    [("off", 0, set()), ("off", 1, set()), ("report", 0, {"server"}), ("report", 1, {"worker"})],
    ids=["off", "off, worker", "report", "report, worker"],
)
async def test_a_server_that_judges_keyless_evidence_loads_the_library_where_it_is_asked(
    mode: str, workers: int, loaded: set[str], tmp_path: Path
) -> None:
    async with verifying.opened(stored=HostileRegistry()) as cluster:
        image = cluster.image()
        bundle(log="v2")(cluster, image)
        host = {"host": cluster.host, "insecureHTTP": True, "loopback": True}
        (tmp_path / "registries.yaml").write_text(json.dumps({"registries": [host]}))
        head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "keyless"}}
        (tmp_path / "keyless").mkdir()
        (tmp_path / "keyless" / "keyless.yaml").write_text(json.dumps({**head, "spec": images.spec()}))
        variables = {"POLICIES": tmp_path / "keyless", "REGISTRIES": tmp_path / "registries.yaml"}
        async with running(tmp_path, **variables, WORKERS=workers, CROSSCHECK=mode) as webhook:
            reader, writer = await webhook.connect()
            decision = None
            while decision is None or decision.code == 504:  # the library is loaded in its own time
                writer.write(request(f"{cluster.host}/{cluster.name}@{image}"))
                decision, _ = await answer(reader)
            pid = webhook.process.pid
            processes = {"server": pid, **dict(zip(["worker"], children(pid), strict=False))}
            mapped = {name: Path(f"/proc/{pid}/maps").read_text() for name, pid in processes.items()}
            writer.close()

    assert decision.allowed, decision
    assert all("cryptography" in text for text in mapped.values())
    assert {name for name, text in mapped.items() if "rfc3161_client" in text} == loaded


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
