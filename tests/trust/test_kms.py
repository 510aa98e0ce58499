"""Which texts name a key in AWS KMS, and which only look so."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, MalformedError
from webhook.trust import kms
from webhook.trust.kms import KMSKey
from webhook.trust.material import Hash, Padding

ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
KEY_ARN = f"arn:aws:kms:us-west-2:111122223333:key/{ID}"
ALIAS_ARN = "arn:aws:kms:us-west-2:111122223333:alias/image-signing"


@pytest.mark.parametrize(
    ("uri", "key_id", "partition", "region", "account", "endpoint"),
    [
        (f"awskms:///{ID}", ID, "", "", "", ""),
        (f"awskms:///{MRK}", MRK, "", "", "", ""),
        ("awskms:///alias/image-signing", "alias/image-signing", "", "", "", ""),
        ("awskms:///alias/team/a:b_c-D", "alias/team/a:b_c-D", "", "", "", ""),
        (f"awskms:///{KEY_ARN}", KEY_ARN, "aws", "us-west-2", "111122223333", ""),
        (f"awskms:///{ALIAS_ARN}", ALIAS_ARN, "aws", "us-west-2", "111122223333", ""),
        (
            f"awskms:///arn:aws-cn:kms:cn-north-1:111122223333:key/{MRK}",
            f"arn:aws-cn:kms:cn-north-1:111122223333:key/{MRK}",
            *("aws-cn", "cn-north-1", "111122223333", ""),
        ),
        (
            "awskms:///arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/x",
            "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/x",
            *("aws-us-gov", "us-gov-west-1", "111122223333", ""),
        ),
        ("awskms://localhost:4566/alias/x", "alias/x", "", "", "", "localhost:4566"),
        ("awskms://[::1]:4566/alias/x", "alias/x", "", "", "", "[::1]:4566"),
        (f"awskms://kms.example.com/{KEY_ARN}", KEY_ARN, "aws", "us-west-2", "111122223333", "kms.example.com"),
    ],
)
def test_a_uri_names_one_key(uri: str, key_id: str, partition: str, region: str, account: str, endpoint: str) -> None:
    place = kms.parse(uri, endpoints=("localhost:4566", "[::1]:4566", "kms.example.com"))

    assert place == KMSKey(uri, key_id, partition, region, account, endpoint)
    assert str(place) == uri
    assert pickle.loads(pickle.dumps(place)) == place


MALFORMED, UNSUPPORTED = Code.MALFORMED, Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("", MALFORMED, "awskms:///KEY expected"),
        (ID, MALFORMED, "awskms:///KEY expected"),
        (KEY_ARN, MALFORMED, "awskms:///KEY expected"),
        ("AWSKMS:///alias/x", MALFORMED, "awskms:///KEY expected"),
        (" awskms:///alias/x", MALFORMED, "awskms:///KEY expected"),
        (f"awskms://{ID}", MALFORMED, "three slashes"),
        ("awskms://alias/x", MALFORMED, "three slashes"),
        (f"awskms://{KEY_ARN}", MALFORMED, "three slashes"),
        ("awskms:///", MALFORMED, "a key id, alias/NAME, or the ARN of either"),
        ("awskms:///x", MALFORMED, "a key id, alias/NAME, or the ARN of either"),
        ("awskms:///alias/", MALFORMED, "a key id"),
        ("awskms:///alias/x y", MALFORMED, "a key id"),
        ("awskms:///alias/x\n", MALFORMED, "a key id"),
        ("awskms:///alias/\u0435xample", MALFORMED, "a key id"),
        (f"awskms:///{ID.upper()}", MALFORMED, "a key id"),
        (f"awskms:///{ID}/", MALFORMED, "a key id"),
        (f"awskms:///{ID}?versionId=1", MALFORMED, "a key id"),
        (f"awskms:///key/{ID}", MALFORMED, "a key id"),
        (f"awskms:///{MRK}0", MALFORMED, "a key id"),
        ("awskms:///alias/*", MALFORMED, "no wildcard"),
        (f"awskms:///{KEY_ARN[:-1]}*", MALFORMED, "no wildcard"),
        (f"awskms:///{KEY_ARN}/", MALFORMED, "arn:PARTITION:kms"),
        (f"awskms:///{KEY_ARN.replace(':kms:', ':signer:')}", MALFORMED, "the ARN of a KMS key or alias"),
        (f"awskms:///{KEY_ARN.replace('arn:aws:', 'arn:aws-x:')}", MALFORMED, "arn:PARTITION:kms"),
        (f"awskms:///{KEY_ARN.replace('us-west-2', 'US-WEST-2')}", MALFORMED, "arn:PARTITION:kms"),
        (f"awskms:///{KEY_ARN.replace('us-west-2', '')}", MALFORMED, "arn:PARTITION:kms"),
        (f"awskms:///{KEY_ARN.replace('us-west-2', 'us-west-2.evil.example')}", MALFORMED, "arn:PARTITION:kms"),
        (f"awskms:///{KEY_ARN.replace('111122223333', '11112222333')}", MALFORMED, "arn:PARTITION:kms"),
        ("awskms:///" + KEY_ARN.replace("1111", "\u0661" * 4), MALFORMED, "arn:PARTITION:kms"),
        ("awskms://evil.example/alias/x", MALFORMED, "not one that the operator lists"),
        ("awskms://localhost:4567/alias/x", MALFORMED, "not one that the operator lists"),
        ("awskms://localhost:4566.evil.example/alias/x", MALFORMED, "no `host[:port]`"),
        ("awskms://user@localhost:4566/alias/x", MALFORMED, "no `host[:port]`"),
        ("awskms://LOCALHOST:4566/alias/x", MALFORMED, "no `host[:port]`"),
        (f"awskms:///alias/{'x' * 2048}", MALFORMED, "at most 2048"),
        ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", UNSUPPORTED, "cosign public-key --key"),
        ("azurekms://v.vault.azure.net/k", UNSUPPORTED, "cosign public-key --key"),
        ("hashivault://k", UNSUPPORTED, "cosign public-key --key"),
        ("k8s://n/s", UNSUPPORTED, "cosign public-key --key"),
    ],
)
def test_what_only_looks_like_one_is_refused(uri: str, code: Code, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        kms.parse(uri, endpoints=("localhost:4566",))

    assert caught.value.code is code
    assert said in caught.value.detail


def test_an_endpoint_is_judged_later_where_nobody_knows_which_are_listed() -> None:
    assert kms.parse("awskms://localhost:4566/alias/x").endpoint == "localhost:4566"
    with pytest.raises(MalformedError, match="not one that the operator lists"):
        kms.parse("awskms://localhost:4566/alias/x", endpoints=())


def test_options_are_a_part_of_the_key() -> None:
    plain = kms.parse("awskms:///alias/x")
    chosen = kms.parse("awskms:///alias/x", hash=Hash.SHA384, padding=Padding.PSS)

    assert (chosen.hash, chosen.padding) == (Hash.SHA384, Padding.PSS)
    assert chosen != plain


@given(st.text() | st.from_regex(r"awskms://[a-z:0-9]*/(alias/|arn:aws)?.*"))
def test_any_text_is_a_key_or_malformed(text: str) -> None:
    try:
        place = kms.parse(text)
    except MalformedError:
        return
    assert place.uri == text
    assert place.key_id.isascii()
