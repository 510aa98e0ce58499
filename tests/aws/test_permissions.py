"""The tables of permissions in docs/aws.md are those that are needed: read off the requests that really reach AWS."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.aws.serving import ONCE, by_profile, opened
from tests.doubles import aws, ecr
from tests.doubles.aws import Request, Response, Server
from tests.doubles.registry import basic
from tests.doubles.verifying import RELEASE, trusted
from webhook import settings
from webhook.oci import ecr as ecr_hosts
from webhook.terminal import app
from webhook.terminal.checkup import registries

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "aws.md").read_text()
TOPIC = f"arn:aws:sns:{aws.REGION}:{aws.ACCOUNT}:denials"
KEY = f"awskms:///arn:aws:kms:{aws.REGION}:{aws.ACCOUNT}:alias/image-signing"
TOKEN = {"authorizationToken": "QVdTOnNlY3JldA==", "expiresAt": time.time() + 43200}
BY_KEY: Mapping[str, object] = {"trustedKeys": [trusted("release", RELEASE)]}
BY_KMS: Mapping[str, object] = {"trustedKeys": [{"name": "pipeline", "kms": KEY}]}
ACTION = re.compile(r"[a-z-]+:[A-Z][A-Za-z*]+")


class Everything(Server):
    """All of AWS at one address: takes whatever is asked as an action of whatever service it was signed for."""

    def __init__(self) -> None:
        super().__init__(self._answer)

    @property
    def actions(self) -> set[str]:
        """What came, as IAM calls it."""
        return {f"{_service(request)}:{_operation(request)}" for request in self.requests}

    def _answer(self, request: Request) -> Response:
        der = "".join(line for line in RELEASE.public_pem.splitlines() if "-" not in line)
        key = {"KeyId": "arn", "KeyUsage": "SIGN_VERIFY", "PublicKey": der, "SigningAlgorithms": ["ECDSA_SHA_256"]}
        answers: Mapping[str, object] = {
            "ecr": {"authorizationData": [TOKEN]},
            "ecr-public": {"authorizationData": TOKEN},
            "kms": key,
            "signer": {"revokedEntities": []},
        }
        service, operation = _service(request), _operation(request)
        if service in answers:
            return Response(body=json.dumps(answers[service]).encode())
        return Response(body=f"<{operation}Response><{operation}Result/></{operation}Response>".encode())


def _service(request: Request) -> str:
    """SigV4, credential scope: whom the request was signed for, which is how IAM calls the service, too."""
    return request.headers["Authorization"].partition("/aws4_request")[0].rpartition("/")[2]


def _operation(request: Request) -> str:
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    if action := urllib.parse.parse_qs(request.body.decode()).get("Action"):
        return action[0]
    assert (request.method, request.target.partition("?")[0]) == ("GET", "/revocations")  # botocore, signer-data
    return "GetRevocationStatus"


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    with Everything() as server:
        for name, value in (aws.variables() | {"AWS_ENDPOINT_URL": server.url}).items():
            monkeypatch.setenv(name, value)
        yield server


def table(heading: str) -> dict[str, set[str]]:
    """The actions of each row below `heading`, by what they are for."""
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| .+ \|$",
        DOCUMENT.partition(heading)[2].partition("\n### ")[0].partition("\n## ")[0],
        re.MULTILINE,
    )
    return {what: set(ACTION.findall(actions)) for what, actions in rows if what != "for"}


CALLS, REGISTRY = table("### Calls"), table("### Registry actions")
FEATURES: Mapping[str, tuple[Mapping[str, object], str, settings.AWS]] = {
    "nothing of AWS": (BY_KEY, ecr.ELSEWHERE, ONCE),
    "images in ECR": (BY_KEY, ecr.HOST, ONCE),
    "`signerProfiles`": (by_profile(), ecr.ELSEWHERE, ONCE),
    "`trustedKeys[].kms`": (BY_KMS, ecr.ELSEWHERE, ONCE),
    "public ECR with credentials": (BY_KEY, ecr_hosts.PUBLIC, replace(ONCE, public_registry=True)),
    "`COUNTERSIGN_SNS_TOPIC`": (BY_KEY, ecr.ELSEWHERE, replace(ONCE, sns_topic=TOPIC)),
}


@pytest.mark.parametrize("feature", FEATURES)
async def test_each_feature_calls_what_its_row_says_and_nothing_else(
    tmp_path: Path, everything: Everything, feature: str
) -> None:
    spec, host, asking = FEATURES[feature]
    expected = CALLS.get(feature, set())
    async with opened(tmp_path, spec, host=host, asking=asking) as shop:
        if host != ecr.ELSEWHERE:
            shop.stored.rules.append(basic("Basic QVdTOnNlY3JldA=="))
        image = shop.image()
        shop.sign_by_profile(image)
        shop.sign(image, RELEASE)
        assert (await shop.ask(shop.named(image))).allowed
        assert not (await shop.ask(shop.named(shop.image("unsigned")))).allowed
        async with asyncio.timeout(10):
            while not everything.actions >= expected:
                await asyncio.sleep(0.02)
    assert everything.actions == expected


async def test_doctor_asks_for_who_we_are_besides(tmp_path: Path, everything: Everything) -> None:
    policy = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "aws"}}
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({**policy, "spec": {"mode": "enforce", **BY_KMS, **by_profile()}}))
    await asyncio.to_thread(app.run, ["doctor", "--policy", str(path), "--output", "json"])
    others = CALLS["`signerProfiles`"] | CALLS["`trustedKeys[].kms`"]
    assert everything.actions == others | CALLS["`countersign doctor`"]


def test_every_row_of_calls_is_tried() -> None:
    assert set(CALLS) == set(FEATURES) - {"nothing of AWS"} | {"`countersign doctor`"}
    assert all(len(actions) == 1 for actions in CALLS.values())


def test_the_registry_actions_are_those_of_ecr() -> None:
    """No API says what a registry checks behind /v2/. Amazon ECR user guide, IAM; AWS Signer and SNS guides."""
    assert {
        "manifests, referrers": {"ecr:BatchGetImage"},
        "signatures": {"ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"},
        "images behind a pull-through cache that nobody pulled yet": {
            "ecr:BatchImportUpstreamImage", "ecr:CreateRepository",
        },
        "public ECR with credentials": {"sts:GetServiceBearerToken"},
        "an encrypted SNS topic": {"kms:GenerateDataKey*", "kms:Decrypt"},
    } == REGISTRY  # fmt: skip


def test_what_is_named_as_missing_is_in_the_tables() -> None:
    known = set().union(*CALLS.values(), *REGISTRY.values())
    for text in (ecr_hosts.NEEDED_TO_IMPORT, registries.READ):
        assert ACTION.findall(text)
        assert set(ACTION.findall(text)) <= known


def test_the_example_allows_what_the_tables_say() -> None:
    """Of every row that the shortest way, and a key in KMS, needs; on resources of the kind that each row names."""
    [example] = re.findall(r'^```json\n(\{\n  "Version".*?)^```$', DOCUMENT, re.MULTILINE | re.DOTALL)
    allowed: dict[str, str] = {}
    for statement in json.loads(example)["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        allowed |= dict.fromkeys([actions] if isinstance(actions, str) else actions, statement["Resource"])
    needed = ("images in ECR", "`signerProfiles`", "`trustedKeys[].kms`")
    wanted = set().union(*(CALLS[row] for row in needed), REGISTRY["manifests, referrers"], REGISTRY["signatures"])
    assert set(allowed) == wanted
    kinds = {
        action: "*" if resource == "*" else resource.split(":")[5].partition("/")[0]
        for action, resource in allowed.items()
    }
    assert kinds == {
        "ecr:GetAuthorizationToken": "*",
        "signer:GetRevocationStatus": "*",
        "ecr:BatchGetImage": "repository",
        "ecr:GetDownloadUrlForLayer": "repository",
        "ecr:BatchCheckLayerAvailability": "repository",
        "kms:GetPublicKey": "key",
    }
