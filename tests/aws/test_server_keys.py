"""The real webhook with keys that KMS has: pointed elsewhere, ended, and not to be had, while reviews go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.admission.checker import Answer
from tests.aws.serving import ONCE, Shop, by_certificate, opened
from tests.doubles import aws
from tests.doubles.aws import Request, Response, Server, refusal
from tests.doubles.verifying import PIPELINE, RELEASE, trusted
from webhook.demo.signing import SigningKey

ALIAS = "alias/image-signing"
URI = f"awskms:///arn:aws:kms:{aws.REGION}:{aws.ACCOUNT}:{ALIAS}"
ADMITTED = True, 200
DENIED, UNAVAILABLE = (False, 403), (False, 503)
SOON = 0.2  # seconds between looks at a key, which are made once in a second at most


def told(found: Answer) -> tuple[bool, int]:
    return found.allowed, found.code


def spec(**others: object) -> dict[str, object]:
    return {"trustedKeys": [{"name": "pipeline", "kms": URI}], **others}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws.moto() as url:
        yield url


@pytest.fixture
def service(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client as an owner of keys has it."""
    for name, value in aws.variables(moto).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("kms", region_name=aws.REGION)
    yield client
    for alias in client.list_aliases()["Aliases"]:
        if not alias["AliasName"].startswith("alias/aws/"):
            client.delete_alias(AliasName=alias["AliasName"])
    client.close()


def new_key(service: Any, spec: str = "ECC_NIST_P256") -> str:
    return str(service.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"])


def signing(service: Any, key: str, algorithm: str = "ECDSA_SHA_256") -> Callable[[bytes], bytes]:
    """Signs as KMS does for cosign."""
    return lambda data: service.sign(KeyId=key, Message=data, SigningAlgorithm=algorithm)["Signature"]


async def until(shop: Shop, holds: Callable[[str], bool]) -> str:
    """What is said of the key to whoever looks closer, once `holds`."""
    async with asyncio.timeout(20):
        while not holds(said := (await shop.notes(f"key {URI}")).get(f"key {URI}", "")):
            await asyncio.sleep(0.05)
    return said


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("ECC_NIST_P256", "ECDSA_SHA_256"), ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256")]
)
async def test_what_kms_signed_is_admitted(tmp_path: Path, service: Any, kind: str, algorithm: str) -> None:
    key, stranger = new_key(service, kind), new_key(service, kind)
    service.create_alias(AliasName=ALIAS, TargetKeyId=key)
    async with opened(tmp_path, spec()) as shop:
        for by, expected in ((key, ADMITTED), (stranger, DENIED)):
            image = shop.image(by)
            shop.sign_by_kms(image, signing(service, by, algorithm))
            found = await shop.ask(shop.named(image))
            assert told(found) == expected
        assert "signature_invalid" in found.message
        assert await shop.webhook.metric('countersign_key_refresh_total{result="success"}') == 1
        assert await shop.webhook.metric("countersign_key_problems") == 0


async def test_an_alias_is_pointed_elsewhere_while_a_review_is_under_way(tmp_path: Path, service: Any) -> None:
    old, new = new_key(service), new_key(service)
    service.create_alias(AliasName=ALIAS, TargetKeyId=old)
    async with opened(tmp_path, spec(), asking=replace(ONCE, kms_refresh=SOON)) as shop:
        images = {}
        for key in (old, new):
            images[key] = shop.image(key)
            shop.sign_by_kms(images[key], signing(service, key))
        assert told(await shop.ask(shop.named(images[new]))) == DENIED
        shop.stored.gate.clear()
        shop.stored.reached.clear()
        begun = asyncio.create_task(shop.ask(shop.named(images[old]), seconds=20))
        await asyncio.wait_for(shop.stored.reached.wait(), 10)
        before = await until(shop, bool)
        service.update_alias(AliasName=ALIAS, TargetKeyId=new)
        await until(shop, lambda said: said.split(", fetched")[0] != before.split(", fetched")[0])
        shop.stored.gate.set()

        assert told(await begun) == ADMITTED, "it has the key that was at hand when it began"
        assert told(await shop.ask(shop.named(images[old]))) == DENIED
        assert told(await shop.ask(shop.named(images[new]))) == ADMITTED


async def test_an_alias_that_is_deleted_ends_its_signer_alone(tmp_path: Path, service: Any) -> None:
    key = new_key(service)
    service.create_alias(AliasName=ALIAS, TargetKeyId=key)
    both = spec()
    both["trustedKeys"] = [*both["trustedKeys"], trusted("release", RELEASE)]  # type: ignore[misc]
    async with opened(tmp_path, both, asking=replace(ONCE, kms_refresh=SOON)) as shop:
        by_kms, by_key = shop.image("by KMS"), shop.image("by a key")
        shop.sign_by_kms(by_kms, signing(service, key))
        shop.sign(by_key, RELEASE)
        assert told(await shop.ask(shop.named(by_kms))) == ADMITTED

        service.delete_alias(AliasName=ALIAS)
        said = await until(shop, lambda said: said.startswith("not at hand"))
        found = await shop.ask(shop.named(by_kms))

        assert "there is no such key or alias; it may have been deleted (NotFoundException)" in said
        assert told(found) == UNAVAILABLE
        assert "trust_unavailable" in found.message
        assert "there is no such key or alias" in found.message
        assert await shop.webhook.metric('countersign_key_refresh_total{result="ended"}') >= 1
        assert await shop.webhook.metric("countersign_key_problems") == 1
        assert told(await shop.ask(shop.named(by_key))) == ADMITTED
        assert (await shop.webhook.operations.get("/readyz")).status_code == 200

        service.create_alias(AliasName=ALIAS, TargetKeyId=key)
        await until(shop, lambda said: "ECDSA P-256" in said)
        assert told(await shop.ask(shop.named(by_kms))) == ADMITTED


# --- KMS answers, or does not


class FakeKMS(Server):
    """Has `key` under every name; `failing` answers in its place."""

    def __init__(self, key: SigningKey) -> None:
        super().__init__(self._public_key)
        self.key = key
        self.failing: Response | None = None

    def _public_key(self, request: Request) -> Response:
        if self.failing is not None:
            return self.failing
        der = "".join(line for line in self.key.public_pem.splitlines() if "-" not in line)
        arn = f"arn:aws:kms:{aws.REGION}:{aws.ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        said = {"KeyId": arn, "KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256", "PublicKey": der,
                "SigningAlgorithms": ["ECDSA_SHA_256"]}  # fmt: skip
        return Response(body=json.dumps(said).encode())


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKMS]:
    with FakeKMS(RELEASE) as fake:
        for name, value in aws.variables(kms=fake.url).items():
            monkeypatch.setenv(name, value)
        yield fake


OUTAGES = {
    "failing": refusal(500, "KMSInternalException"),
    "throttled": refusal(400, "ThrottlingException"),
    "a-page": Response(200, b"<html>log in</html>"),
}
ENDS = {
    "disabled": (refusal(400, "DisabledException"), "the key is disabled"),
    "pending-deletion": (refusal(400, "KMSInvalidStateException"), "pending deletion"),
    "gone": (refusal(400, "NotFoundException"), "no such key or alias"),
    "denied": (refusal(400, "AccessDeniedException"), "the permission kms:GetPublicKey is missing"),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
async def test_the_last_good_key_stays_and_says_so_and_then_goes(
    tmp_path: Path, kms: FakeKMS, outage: Response
) -> None:
    async with opened(tmp_path, spec(), asking=replace(ONCE, kms_refresh=SOON, kms_stale=3.0)) as shop:
        image = shop.image()
        shop.sign(image, RELEASE)
        assert told(await shop.ask(shop.named(image))) == ADMITTED
        kms.failing = outage
        said = await until(shop, lambda said: "not refreshed" in said)
        assert "ECDSA P-256" in said
        assert told(await shop.ask(shop.named(image))) == ADMITTED
        assert await shop.webhook.metric("countersign_key_problems") == 1
        assert await shop.webhook.metric('countersign_key_refresh_total{result="failure"}') >= 1
        said = await until(shop, lambda said: said.startswith("not at hand"))
        assert said.endswith("the last good key is too old by now")
        found = await shop.ask(shop.named(image))
        assert told(found) == UNAVAILABLE
        assert "trust_unavailable" in found.message


@pytest.mark.parametrize(("answer", "reason"), ENDS.values(), ids=ENDS)
async def test_what_ends_a_key_ends_it_at_the_next_look(
    tmp_path: Path, kms: FakeKMS, answer: Response, reason: str
) -> None:
    async with opened(tmp_path, spec(), asking=replace(ONCE, kms_refresh=SOON)) as shop:
        image = shop.image()
        shop.sign(image, RELEASE)
        assert told(await shop.ask(shop.named(image))) == ADMITTED
        kms.failing = answer
        assert reason in await until(shop, lambda said: said.startswith("not at hand"))
        found = await shop.ask(shop.named(image))
    assert told(found) == UNAVAILABLE
    assert reason in found.message
    assert "111122223333" not in found.message


async def test_no_review_asks_kms(tmp_path: Path, kms: FakeKMS) -> None:
    async with opened(tmp_path, spec()) as shop:
        kms.hanging = True
        image = shop.image()
        shop.sign(image, RELEASE)
        for _ in range(3):
            assert told(await shop.ask(shop.named(image))) == ADMITTED
        assert len(kms.requests) == 1


async def test_a_kms_that_hangs_at_the_start_holds_up_neither_it_nor_other_signers(
    tmp_path: Path, kms: FakeKMS
) -> None:
    kms.hanging = True
    both = spec()
    both["trustedKeys"] = [*both["trustedKeys"], trusted("pipe", PIPELINE)]  # type: ignore[misc]
    async with opened(tmp_path, both, asking=replace(ONCE, read_timeout=0.3, kms_refresh=SOON)) as shop:
        by_kms, by_key = shop.image("by KMS"), shop.image("by a key")
        shop.sign(by_kms, RELEASE)
        shop.sign(by_key, PIPELINE)
        found = await shop.ask(shop.named(by_kms))
        assert told(found) == UNAVAILABLE
        assert "trust_unavailable" in found.message
        assert told(await shop.ask(shop.named(by_key))) == ADMITTED
        kms.release()
        await until(shop, lambda said: "ECDSA P-256" in said)
        assert told(await shop.ask(shop.named(by_kms))) == ADMITTED


async def test_one_key_under_a_name_and_as_itself_counts_once(tmp_path: Path, kms: FakeKMS) -> None:
    both = spec(rules=[{"images": ["registry.example.com"], "require": 2}], **by_certificate())
    both["trustedKeys"] = [*both["trustedKeys"], trusted("release", RELEASE)]  # type: ignore[misc]
    async with opened(tmp_path, both, host="registry.example.com") as shop:
        image = shop.image()
        shop.sign(image, RELEASE)
        found = await shop.ask(shop.named(image))
        assert told(found) == DENIED
        assert "not_enough_signers" in found.message
        shop.sign_by_certificate(image)
        assert told(await shop.ask(shop.named(image))) == ADMITTED
