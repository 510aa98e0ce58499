"""References against the traps of registries and nodes, digests, and patterns against what they must not match."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, MalformedError
from webhook.oci import reference
from webhook.oci.reference import Digest, Pattern, Repository

HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"
ECR = "111122223333.dkr.ecr.us-west-2.amazonaws.com"

ACCEPTED: dict[str, tuple[str, str, str, str | None, str | None]] = {
    # id: text, host, path, tag, digest
    "one name is an official image": ("nginx", "docker.io", "library/nginx", "latest", None),
    "tag": ("nginx:1.27", "docker.io", "library/nginx", "1.27", None),
    "digest": (f"nginx@{SHA256}", "docker.io", "library/nginx", None, SHA256),
    "sha512": (f"nginx@{SHA512}", "docker.io", "library/nginx", None, SHA512),
    "tag and digest": (f"nginx:1.27@{SHA256}", "docker.io", "library/nginx", "1.27", SHA256),
    "user on Docker Hub": ("bitnami/nginx", "docker.io", "bitnami/nginx", "latest", None),
    "three segments on Docker Hub": ("a/b/c", "docker.io", "a/b/c", "latest", None),
    "a dot without a slash is a path": ("example.com", "docker.io", "library/example.com", "latest", None),
    "a dot and a tag without a slash": ("example.com:80", "docker.io", "library/example.com", "80", None),
    "localhost without a slash is a path": ("localhost", "docker.io", "library/localhost", "latest", None),
    "localhost and a tag": ("localhost:5000", "docker.io", "library/localhost", "5000", None),
    "localhost is a host": ("localhost/app", "localhost", "app", "latest", None),
    "localhost with a port": ("localhost:5000/app:v1", "localhost:5000", "app", "v1", None),
    "localhost.localdomain": ("localhost.localdomain/app", "localhost.localdomain", "app", "latest", None),
    "nearly localhost is a path": ("localhos/app", "docker.io", "localhos/app", "latest", None),
    "a port makes a host": ("registry:5000/app", "registry:5000", "app", "latest", None),
    "a dot makes a host": ("ghcr.io/acme/app", "ghcr.io", "acme/app", "latest", None),
    "upper case makes a host": ("FOO/app", "FOO", "app", "latest", None),
    "an upper-case host stands as written": ("GHCR.IO/acme/app", "GHCR.IO", "acme/app", "latest", None),
    "the default port stands as written": ("ghcr.io:443/acme/app", "ghcr.io:443", "acme/app", "latest", None),
    "docker.io": ("docker.io/nginx", "docker.io", "library/nginx", "latest", None),
    "docker.io/library": ("docker.io/library/nginx", "docker.io", "library/nginx", "latest", None),
    "docker.io and a user": ("docker.io/bitnami/nginx:1", "docker.io", "bitnami/nginx", "1", None),
    "index.docker.io": ("index.docker.io/nginx", "docker.io", "library/nginx", "latest", None),
    "index.docker.io and a user": ("index.docker.io/bitnami/nginx", "docker.io", "bitnami/nginx", "latest", None),
    "upper-case Docker Hub gets no library": ("Docker.io/nginx", "Docker.io", "nginx", "latest", None),
    "another name of Docker Hub gets no library": (
        "registry-1.docker.io/nginx", "registry-1.docker.io", "nginx", "latest", None),
    "hub with digest only": (f"docker.io/nginx@{SHA256}", "docker.io", "library/nginx", None, SHA256),
    "IPv4": ("10.0.0.1/app", "10.0.0.1", "app", "latest", None),
    "IPv4 with port": ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", "latest", None),
    "IPv6": ("[::1]/app", "[::1]", "app", "latest", None),
    "IPv6 with port": ("[2001:db8::1]:5000/app:v1", "[2001:db8::1]:5000", "app", "v1", None),
    "ECR": (f"{ECR}/pay/api@{SHA256}", ECR, "pay/api", None, SHA256),
    "punycode": ("xn--bcher-kva.example/app", "xn--bcher-kva.example", "app", "latest", None),
    "hyphens in a label": ("a--b.example/app", "a--b.example", "app", "latest", None),
    "separators in a path": ("x.io/a.b/c_d/e__f/g-h/i---j", "x.io", "a.b/c_d/e__f/g-h/i---j", "latest", None),
    "digits in a path": ("x.io/0/1a", "x.io", "0/1a", "latest", None),
    "tag begins with underscore": ("x.io/a:_x", "x.io", "a", "_x", None),
    "tag with every sign": ("x.io/a:V1.0-rc_1", "x.io", "a", "V1.0-rc_1", None),
    "tag of 128": ("x.io/a:" + "t" * 128, "x.io", "a", "t" * 128, None),
    "a tag like a digest's hex": (f"x.io/a:{HEX}", "x.io", "a", HEX, None),
    "hex alone but one digit short": (HEX[:63], "docker.io", f"library/{HEX[:63]}", "latest", None),
    "hex alone but one digit long": (HEX + "0", "docker.io", f"library/{HEX}0", "latest", None),
    "hex with a tag is a name": (f"{HEX}:v1", "docker.io", f"library/{HEX}", "v1", None),
    "hex below a user": (f"acme/{HEX}", "docker.io", f"acme/{HEX}", "latest", None),
    "sha256 as a user": ("sha256/app", "docker.io", "sha256/app", "latest", None),
    "sha256 below a user": ("acme/sha256:v1", "docker.io", "acme/sha256", "v1", None),
    "sha256 below a host": (f"x.io/sha256:{HEX}", "x.io", "sha256", HEX, None),
    "sha1 is a name like others": ("sha1:abc", "docker.io", "library/sha1", "abc", None),
    "sha256sum": ("sha256sum:v1", "docker.io", "library/sha256sum", "v1", None),
    "name of 255": ("x.io/" + "a" * 250, "x.io", "a" * 250, "latest", None),
    "label of 63": ("a" * 63 + ".io/app", "a" * 63 + ".io", "app", "latest", None),
    "port 1": ("x.io:1/a", "x.io:1", "a", "latest", None),
    "port 65535": ("x.io:65535/a", "x.io:65535", "a", "latest", None),
    "port with a zero in front": ("ghcr.io:0443/a", "ghcr.io:0443", "a", "latest", None),
}  # fmt: skip

REFUSED: dict[str, str] = {
    "empty": "",
    "space": " ",
    "blank in front": " nginx",
    "blank behind": "nginx ",
    "blank inside": "ngi nx",
    "newline behind": "nginx\n",
    "newline behind a tag": "nginx:1.27\n",
    "newline behind a digest": f"nginx@{SHA256}\n",
    "newline behind a host": "ghcr.io\n/app",
    "carriage return behind": "nginx\r",
    "tab behind": "nginx\t",
    "NUL behind": "nginx\x00",
    "NUL inside": "ghcr.io/acme\x00/app",
    "escape sequence": "nginx\x1b[31m",
    "DEL": "nginx\x7f",
    "line separator behind": "nginx\u2028",
    "no-break space": "nginx\u00a0",
    "right-to-left override": "ngin\u202ex",
    "zero-width space": "ghcr.io/ac\u200bme/app",
    "byte order mark": "\ufeffnginx",
    "Cyrillic a in the host": "ghcr.io/\u0430cme/app",
    "Cyrillic o in the host": "ghcr.i\u043e/acme/app",
    "Kelvin sign": "\u212aghcr.io/app",
    "Kelvin sign in the path": "ghcr.io/\u212aey",
    "long s": "\u017fhop/app",
    "dotless i": "ghcr.\u0131o/app",
    "full-width letters": "\uff47hcr.io/app",
    "full-width slash": "ghcr.io\uff0facme",
    "full-width colon": "nginx\uff1a1",
    "full stop of another script": "ghcr\u3002io/acme",
    "Arabic digits in a port": "x.io:\u0665\u0660/app",
    "superscript digit in a tag": "nginx:\u00b2",
    "umlaut in the host": "b\u00fccher.example/app",
    "lone surrogate": "nginx\ud800",
    "upper-case path": "ghcr.io/Acme/app",
    "upper-case name": "Nginx",
    "upper-case user is a host": "Acme/App",
    "upper-case path on docker.io": "docker.io/Nginx",
    "scheme": "https://ghcr.io/acme/app",
    "scheme of nothing": "docker://nginx",
    "user and password": "user:pass@ghcr.io/acme/app",
    "user": "user@ghcr.io/acme/app",
    "query": "ghcr.io/acme/app?x=1",
    "fragment": "ghcr.io/acme/app#x",
    "percent": "ghcr.io/acme/%61pp",
    "backslash": "ghcr.io\\acme",
    "trailing dot of the host": "ghcr.io./acme/app",
    "trailing dot of localhost": "localhost./app",
    "leading dot of the host": ".ghcr.io/app",
    "two dots in the host": "ghcr..io/app",
    "only a dot": "./app",
    "two dots": "../app",
    "dots in the path": "ghcr.io/../app",
    "a dot in the path": "ghcr.io/./app",
    "hyphen ends a label": "ghcr-.io/app",
    "hyphen begins a label": "-ghcr.io/app",
    "underscore in the host": "gh_cr.io/app",
    "label of 64": "a" * 64 + ".io/app",
    "wildcard in the host": "*.io/app",
    "port without digits": "ghcr.io:/app",
    "port with a letter": "ghcr.io:44x/app",
    "port with a sign": "ghcr.io:+443/app",
    "port 0": "ghcr.io:0/app",
    "port 65536": "ghcr.io:65536/app",
    "port of a thousand digits": "ghcr.io:" + "4" * 1000 + "/app",
    "two ports": "ghcr.io:443:443/app",
    "tag in front of the path": "nginx:1.27/app",
    "digest in front of the path": f"nginx@{SHA256}/app",
    "host only": "ghcr.io/",
    "slash only": "/",
    "slash in front": "/nginx",
    "slash in front of a host": "/ghcr.io/acme",
    "slash behind": "ghcr.io/acme/",
    "two slashes": "ghcr.io//acme",
    "separator begins a segment": "ghcr.io/-acme",
    "separator ends a segment": "ghcr.io/acme-",
    "separator ends the name": "nginx_",
    "three underscores": "a___b",
    "two dots inside a segment": "a..b",
    "dot and underscore": "a._b",
    "dot and hyphen": "a.-b",
    "tag of 129": "nginx:" + "t" * 129,
    "empty tag": "nginx:",
    "tag begins with a dot": "nginx:.x",
    "tag begins with a hyphen": "nginx:-x",
    "tag with a plus": "nginx:1+2",
    "two tags": "nginx:1:2",
    "tag with a slash": "ghcr.io/a:b/c",
    "empty digest": "nginx@",
    "empty tag with digest": f"nginx:@{SHA256}",
    "tag behind the digest": f"nginx@{SHA256}:1",
    "two digests": f"nginx@{SHA256}@{SHA256}",
    "two at signs": f"nginx@@{SHA256}",
    "digest of 63": f"nginx@sha256:{HEX[:63]}",
    "digest of 65": f"nginx@sha256:{HEX}0",
    "sha512 of the length of sha256": f"nginx@sha512:{HEX}",
    "sha256 of the length of sha512": f"nginx@sha256:{HEX}{HEX}",
    "sha384": f"nginx@sha384:{HEX}{HEX[:32]}",
    "sha1": "nginx@sha1:" + "a" * 40,
    "md5": "nginx@md5:" + "a" * 32,
    "multihash": f"nginx@sha256+b64:{HEX}",
    "upper-case hex": f"nginx@sha256:{HEX.upper()}",
    "one upper-case digit": f"nginx@sha256:{HEX[:63]}F",
    "upper-case algorithm": f"nginx@SHA256:{HEX}",
    "hex with a letter beyond f": f"nginx@sha256:{HEX[:63]}g",
    "hex without algorithm": f"nginx@{HEX}",
    "hex with a wide digit": f"nginx@sha256:{HEX[:63]}\u0661",
    "digest without a name": f"@{SHA256}",
    "image ID": HEX,
    "image ID with algorithm": SHA256,
    "image ID, abbreviated": "sha256:0123abcd",
    "image ID, one digit": "sha256:0",
    "image ID of sha384": f"sha384:{HEX}{HEX[:32]}",
    "image ID of sha512": SHA512,
    "image ID, abbreviated sha512": "sha512:abc",
    "image ID as a digest": f"sha256@{SHA256}",
    "image ID with a word as a tag": "sha256:latest",
    "sha256 alone": "sha256",
    "sha256 with tag and digest": f"sha256:v1@{SHA256}",
    "IPv6 without brackets": "::1/app",
    "IPv6 with one bracket": "[::1/app",
    "IPv6 with zone": "[fe80::1%eth0]/app",
    "IPv6 that is none": "[1:2]/app",
    "IPv6 of colons": "[:::]/app",
    "IPv6 with IPv4 inside": "[::ffff:127.0.0.1]/app",
    "empty brackets": "[]/app",
    "IPv4 in brackets": "[127.0.0.1]/app",
    "IPv4, short": "127.1/app",
    "IPv4, octal": "0177.0.0.1/app",
    "IPv4, hexadecimal": "0x7f.0.0.0x1/app",
    "IPv4, one number": "2130706433:80/app",
    "IPv4, beyond 255": "256.0.0.1/app",
    "IPv4, five parts": "1.2.3.4.5/app",
    "name of 256": "x.io/" + "a" * 251,
    "name of 256 with the library": "a" * (255 - len("docker.io/library/") + 1),
    "4 KiB": "a" * 4096,
    "1 MiB": "a/" * 524288,
    "1025 characters": f"nginx:{'t' * 947}@{SHA256}",
    "comma": "nginx,redis",
    "template": "{{ .Values.image }}",
    "shell": "$(id)",
    "null": "<nil>:<nil>",
}


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_reference_is_read_as_a_node_reads_it(case: tuple[str, str, str, str | None, str | None]) -> None:
    text, host, path, tag, digest = case
    parsed = reference.parse(text)
    assert (parsed.text, parsed.repository.host, parsed.repository.path) == (text, host, path)
    assert (parsed.tag, None if parsed.digest is None else str(parsed.digest)) == (tag, digest)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        reference.parse(text)
    assert caught.value.code is Code.REFERENCE_INVALID
    assert len(caught.value.detail) < 600
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()


def test_the_tables_are_as_long_as_promised() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 120


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Nginx", "lower case"),
        ("a" * 2000, "found 2000"),
        ("nginx\n", "character 6 (U+000A)"),
        ("ghcr.i\u043e/a", "character 7 (U+043E)"),
        (SHA256, "ID of an image"),
        ("ghcr.io./a", "'ghcr.io.' is no host"),
        ("nginx@sha256:abc", "of the right length"),
        ("x.io/" + "a" * 251, "at most 255"),
    ],
)
def test_the_message_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(MalformedError, match=re.escape(said)):
        reference.parse(text)


def test_the_digest_wins_over_the_tag_and_both_are_kept() -> None:
    parsed = reference.parse(f"nginx:evil@{SHA256}")
    assert parsed.digest == Digest("sha256", HEX)
    assert str(parsed) == f"docker.io/library/nginx:evil@{SHA256}"


def test_values_cannot_be_changed() -> None:
    repository = reference.parse("ghcr.io/acme/app").repository
    with pytest.raises(FrozenInstanceError):
        repository.host = "evil.example"  # type: ignore[misc]


def test_repositories_are_equal_by_host_and_path() -> None:
    assert reference.parse("nginx:1").repository == reference.parse("index.docker.io/library/nginx").repository
    assert reference.parse("ghcr.io/a").repository != reference.parse("GHCR.IO/a").repository
    assert len({reference.parse("nginx").repository, Repository("docker.io", "library/nginx")}) == 1


# --- an independent reading of the grammar, character by character -----------------------------------------------

LOWER_OR_DIGIT = set(string.ascii_lowercase + string.digits)
ALPHANUMERIC = set(string.ascii_letters + string.digits)


def is_component(text: str) -> bool:
    """Lower-case letters and digits; between them one of `.`, `_`, `__` or any number of `-`."""
    runs = [(inside, "".join(run)) for inside, run in groupby(text, LOWER_OR_DIGIT.__contains__)]
    if not runs or not runs[0][0] or not runs[-1][0]:
        return False
    return all(inside or run in (".", "_", "__") or set(run) == {"-"} for inside, run in runs)


def is_host(text: str) -> bool:
    name, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    if colon and (not port or set(port) - set(string.digits) or not 1 <= int(port) <= 65535):
        return False
    labels = name.split(".")
    if not all(1 <= len(label) <= 63 and set(label) <= ALPHANUMERIC | {"-"} for label in labels):
        return False
    if any(label[0] == "-" or label[-1] == "-" for label in labels):
        return False
    if set(labels[-1]) <= set(string.digits):
        octets = [str(int(label)) for label in labels if set(label) <= set(string.digits)]
        return octets == labels and len(labels) == 4 and all(int(label) < 256 for label in labels)
    hexadecimal = labels[-1][:2] in ("0x", "0X") and set(labels[-1][2:]) <= set(string.hexdigits)
    return not hexadecimal


def is_tag(text: str) -> bool:
    return 1 <= len(text) <= 128 and text[0] not in ".-" and set(text) <= ALPHANUMERIC | set("_.-")


def is_digest(text: str) -> bool:
    algorithm, _, value = text.partition(":")
    return len(value) == {"sha256": 64, "sha512": 128}.get(algorithm) and set(value) <= set("0123456789abcdef")


def transcribed(text: str) -> tuple[str, str, str | None, str | None] | None:
    """What the documents say a reference is, without IPv6, in another way than the module's."""
    if len(text) > 1024 or (len(text) == 64 and set(text) <= set("0123456789abcdef")):
        return None
    if "/" not in text and text.replace("@", ":").split(":")[0] in ("sha256", "sha384", "sha512"):
        return None
    host, rest = "docker.io", text
    left = text.split("/")[0]
    if "/" in text and (left == "localhost" or set(left) & set(".:" + string.ascii_uppercase)):
        host, rest = left, text[len(left) + 1 :]
        host = {"index.docker.io": "docker.io"}.get(host, host)
    name, at, digest = rest.partition("@")
    name, colon, tag = name.partition(":")
    if host == "docker.io" and "/" not in name:
        name = "library/" + name
    good = (
        is_host(host)
        and all(map(is_component, name.split("/")))
        and (not colon or is_tag(tag))
        and (not at or is_digest(digest))
        and len(f"{host}/{name}") <= 255
    )
    default = None if at else "latest"
    return (host, name, tag if colon else default, digest if at else None) if good else None


def code_of(parse: Callable[[str], object], text: str) -> Code | None:
    """The code with which `text` is refused, and nothing else may be raised."""
    try:
        parse(text)
    except MalformedError as error:
        return error.code
    return None


def read(text: str) -> tuple[str, str, str | None, str | None] | None:
    if code_of(reference.parse, text) is Code.REFERENCE_INVALID:
        return None
    parsed = reference.parse(text)
    digest = None if parsed.digest is None else str(parsed.digest)
    return parsed.repository.host, parsed.repository.path, parsed.tag, digest


PIECES = st.sampled_from(
    [*"ab0Z.:/@-_[]* \n", "__", "--", "..", "localhost", "docker.io", "index.docker.io", "ghcr.io", "443", ":443",
     "sha256:", "sha384:", "sha512:", "sha256", HEX, SHA256, SHA512, "library/", "127.0.0.1", "0x7f", "\u212a",
     "a" * 63, "a" * 128]
)  # fmt: skip
NEARLY = st.lists(PIECES, max_size=12).map("".join)


@given(NEARLY)
def test_module_and_transcription_agree(text: str) -> None:
    assert read(text) == transcribed(text)


@pytest.mark.parametrize(
    "text",
    [text for text, *_ in ACCEPTED.values() if "[" not in text]
    + [text for text in REFUSED.values() if "[" not in text],
    ids=[key for key, case in ACCEPTED.items() if "[" not in case[0]]
    + [key for key, text in REFUSED.items() if "[" not in text],
)
def test_module_and_transcription_agree_on_the_tables(text: str) -> None:
    assert read(text) == transcribed(text)


@given(st.text())
def test_no_text_raises_anything_but_a_malformed_error(text: str) -> None:
    read(text)


@given(NEARLY | st.text())
def test_no_text_raises_anything_but_a_malformed_error_as_digest_or_pattern(text: str) -> None:
    assert code_of(reference.parse_digest, text) in (None, Code.MALFORMED)
    assert code_of(reference.parse_pattern, text) in (None, Code.MALFORMED)


COMPONENT = st.from_regex(r"[a-z0-9]{1,8}([._]|__|-{1,3})?[a-z0-9]{1,8}", fullmatch=True)
HOST = st.from_regex(r"([A-Za-z][A-Za-z0-9-]{0,8}[A-Za-z0-9]\.){1,3}[A-Za-z]{2,5}(:[1-9][0-9]{0,3})?", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGEST = st.binary(max_size=8).map(lambda data: f"sha256:{hashlib.sha256(data).hexdigest()}")


@given(HOST, st.lists(COMPONENT, min_size=1, max_size=4), st.none() | TAG, st.none() | DIGEST)
def test_what_is_written_is_read_back(host: str, path: list[str], tag: str | None, digest: str | None) -> None:
    text = f"{host}/{'/'.join(path)}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"
    parsed = reference.parse(text)
    again = reference.parse(str(parsed))
    assert (again.repository, again.tag, again.digest) == (parsed.repository, parsed.tag, parsed.digest)
    assert str(again) == str(parsed)


# --- digests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_matches_its_bytes_and_no_others(algorithm: str) -> None:
    digest = reference.parse_digest(f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}")
    assert digest.matches(b"content")
    assert not digest.matches(b"Content")
    assert not digest.matches(b"content\n")


def test_digest_is_written_as_it_was_read() -> None:
    assert str(reference.parse_digest(SHA512)) == SHA512


@pytest.mark.parametrize(
    "text",
    {
        "empty": "",
        "no algorithm": HEX,
        "newline": SHA256 + "\n",
        "blank": " " + SHA256,
        "short": SHA256[:-1],
        "long": SHA256 + "0",
        "upper case": SHA256.upper(),
        "upper-case hex": f"sha256:{HEX.upper()}",
        "sha384": f"sha384:{HEX}{HEX[:32]}",
        "sha1": "sha1:" + "a" * 40,
        "long text": "sha256:" + "a" * 100_000,
        "wide digit": f"sha256:{HEX[:63]}\u0661",
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_no_digest_is_refused(text: tuple[str, str]) -> None:
    with pytest.raises(MalformedError) as caught:
        reference.parse_digest(text[1])
    assert caught.value.code is Code.MALFORMED


# --- matching forms ----------------------------------------------------------------------------------------------

GOV_ECR = "111122223333.dkr.ecr.us-gov-west-1.amazonaws.com"
CN_ECR = "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn"
SAME_REGISTRY = {
    "lower case": ("GHCR.IO", "ghcr.io"),
    "default port": ("ghcr.io:443", "ghcr.io"),
    "default port with a zero in front": ("ghcr.io:0443", "ghcr.io"),
    "both": ("GHCR.io:443", "ghcr.io"),
    "other port": ("ghcr.io:8443", "ghcr.io:8443"),
    "other port with a zero in front": ("ghcr.io:08443", "ghcr.io:8443"),
    "plain port": ("ghcr.io:80", "ghcr.io:80"),
    "localhost": ("localhost:5000", "localhost:5000"),
    "IPv6": ("[::1]", "[::1]"),
    "IPv6 in full": ("[0:0:0:0:0:0:0:1]:443", "[::1]"),
    "IPv6 upper case": ("[2001:DB8::1]:5000", "[2001:db8::1]:5000"),
    "docker.io": ("docker.io", "docker.io"),
    "Docker.IO": ("Docker.IO", "docker.io"),
    "index.docker.io": ("index.docker.io:443", "docker.io"),
    "registry-1.docker.io": ("registry-1.docker.io", "docker.io"),
    "registry.hub.docker.com": ("registry.hub.docker.com", "docker.io"),
    "hub.docker.com": ("hub.docker.com:443", "docker.io"),
    "Docker Hub with another port is another server": ("registry-1.docker.io:444", "registry-1.docker.io:444"),
    "nearly Docker Hub": ("registry-2.docker.io", "registry-2.docker.io"),
    "below Docker Hub": ("docker.io.evil.example", "docker.io.evil.example"),
    "public ECR": ("public.ecr.aws", "public.ecr.aws"),
    "public ECR's other name": ("ecr-public.aws.com", "public.ecr.aws"),
    "nearly public ECR": ("ecr-public.aws.com.evil.example", "ecr-public.aws.com.evil.example"),
    "ECR": (ECR, ECR),
    "ECR FIPS": ("111122223333.dkr.ecr-fips.us-west-2.amazonaws.com", ECR),
    "ECR dual-stack": ("111122223333.dkr-ecr.us-west-2.on.aws", ECR),
    "ECR dual-stack FIPS": ("111122223333.dkr-ecr-fips.us-west-2.on.aws:443", ECR),
    "ECR upper case": ("111122223333.DKR.ECR.us-west-2.amazonaws.com", ECR),
    "ECR GovCloud FIPS": ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", GOV_ECR),
    "ECR China dual-stack": ("111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", CN_ECR),
    "ECR European cloud": (
        "111122223333.dkr.ecr-fips.eusc-de-east-1.amazonaws.eu", "111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu"),
}  # fmt: skip
OTHER_REGISTRY = {
    "stolen look": f"{ECR}.evil.example",
    "stolen look in front": f"evil.{ECR}",
    "stolen FIPS look": "111122223333.dkr.ecr-fips.us-west-2.amazonaws.com.evil.example",
    "stolen dual-stack look": "111122223333.dkr-ecr.us-west-2.on.aws.evil.example",
    "another account": "111122223334.dkr.ecr-fips.us-west-2.amazonaws.com",
    "another region": "111122223333.dkr.ecr-fips.us-west-1.amazonaws.com",
    "account of 11": "11112222333.dkr.ecr-fips.us-west-2.amazonaws.com",
    "account of 13": "1111222233334.dkr.ecr-fips.us-west-2.amazonaws.com",
    "China": "111122223333.dkr.ecr-fips.us-west-2.amazonaws.com.cn",
    "another port": "111122223333.dkr.ecr-fips.us-west-2.amazonaws.com:8443",
    "a region of two labels": "111122223333.dkr.ecr-fips.us-west-2.evil.amazonaws.com",
    "other words": "111122223333.dkr.ecr-fipsy.us-west-2.amazonaws.com",
    "a dot replaced": "111122223333.dkr.ecr-fips.us-west-2.amazonawsXcom",
    "dual-stack label under the standard suffix": "111122223333.dkr-ecr.us-west-2.amazonaws.com",
    "standard labels under the dual-stack suffix": "111122223333.dkr.ecr.us-west-2.on.aws",
    "API host": "api.ecr.us-west-2.amazonaws.com",
}


@pytest.mark.parametrize(("host", "form"), SAME_REGISTRY.values(), ids=SAME_REGISTRY.keys())
def test_names_of_one_registry_have_one_form(host: str, form: str) -> None:
    assert reference.matching_host(host) == form
    assert reference.matching_host(form) == form


@pytest.mark.parametrize("host", OTHER_REGISTRY.values(), ids=OTHER_REGISTRY.keys())
def test_a_host_that_only_looks_like_it_is_another_registry(host: str) -> None:
    assert reference.matching_host(host) != ECR
    assert not reference.parse_pattern(ECR).matches(Repository(host, "pay/api"))


def test_a_kelvin_sign_is_no_k() -> None:
    assert reference.matching_host("doc\u212aer.io") != "docker.io"


def test_only_docker_hub_is_dialled_under_another_name() -> None:
    assert reference.network_host("docker.io") == "registry-1.docker.io"
    assert reference.network_host("ghcr.io:443") == "ghcr.io:443"
    assert reference.network_host("docker.io.evil.example") == "docker.io.evil.example"


# --- patterns ----------------------------------------------------------------------------------------------------

MATCHES = {
    # id: pattern, references that match, references that do not
    "bare host": (
        "registry.k8s.io",
        ["registry.k8s.io/pause", "registry.k8s.io/a/b/c:1", "REGISTRY.K8S.IO/pause", "registry.k8s.io:443/pause"],
        [
            "registry.k8s.io.example.com/pause",
            "example.com/registry.k8s.io/pause",
            "eregistry.k8s.io/pause",
            "pause",
            "registry.k8s.io:8443/pause",
            "registry-k8s.io/pause",
            "k8s.io/pause",
            "registry.k8s.io",
            "evil/registry.k8s.io",
        ],
    ),
    "path covers what is below": (
        "ghcr.io/org",
        ["ghcr.io/org", "ghcr.io/org/x", "ghcr.io/org/x/y", "GHCR.IO/org/x", "ghcr.io:0443/org/x"],
        ["ghcr.io/org-evil/x", "ghcr.io/orga", "ghcr.io/x/org", "ghcr.io.evil.example/org/x", "ghcr.io/or"],
    ),
    "two segments": (
        "ghcr.io/org/x",
        ["ghcr.io/org/x", "ghcr.io/org/x/y"],
        ["ghcr.io/org", "ghcr.io/org/xy", "ghcr.io/x/org"],
    ),
    "star is one segment": (
        "ghcr.io/org/*",
        ["ghcr.io/org/x", "ghcr.io/org/x:1"],
        ["ghcr.io/org", "ghcr.io/org/x/y", "ghcr.io/org-evil/x"],
    ),
    "star inside": (
        "ghcr.io/*/app",
        ["ghcr.io/a/app", "ghcr.io/b/app"],
        ["ghcr.io/app", "ghcr.io/a/b/app", "ghcr.io/a/app/x", "ghcr.io/a/apps"],
    ),
    "two stars are the rest": (
        "ghcr.io/org/**",
        ["ghcr.io/org/x", "ghcr.io/org/x/y/z"],
        ["ghcr.io/org", "ghcr.io/orgs/x"],
    ),
    "star and the rest": (
        "ghcr.io/*/x/**",
        ["ghcr.io/a/x/y", "ghcr.io/a/x/y/z"],
        ["ghcr.io/a/x", "ghcr.io/x/y", "ghcr.io/a/y/x"],
    ),
    "rest of a host": ("ghcr.io/**", ["ghcr.io/a", "ghcr.io/a/b"], ["quay.io/a"]),
    "any one segment of a host": ("ghcr.io/*", ["ghcr.io/a"], ["ghcr.io/a/b"]),
    "host label": (
        "*.example.com",
        ["a.example.com/x", "b.example.com/x/y", "A.EXAMPLE.COM:443/x"],
        ["example.com/x", "a.b.example.com/x", "a.example.com.evil.example/x", "aexample.com/x", "a.example.com:444/x"],
    ),
    "host label inside": (
        "eu.*.example.com/x",
        ["eu.a.example.com/x"],
        ["eu.example.com/x", "us.a.example.com/x", "eu.a.example.com/y"],
    ),
    "host label and port": (
        "*.example.com:5000",
        ["a.example.com:5000/x"],
        ["a.example.com/x", "a.example.com:5001/x"],
    ),
    "one label of a host": (
        "*:5000/app",
        ["localhost:5000/app", "registry:5000/app"],
        ["a.b:5000/app", "registry:5001/app"],
    ),
    "every registry": ("*", ["ghcr.io/a", "nginx", "localhost:5000/x", "[::1]/x"], []),
    "everything": ("**", ["ghcr.io/a", "nginx", "localhost:5000/x/y/z"], []),
    "a path in every registry": (
        "*/library/nginx",
        ["nginx", "ghcr.io/library/nginx"],
        ["acme/nginx", "ghcr.io/a/library/nginx"],
    ),
    "Docker Hub": (
        "docker.io",
        [
            "nginx",
            "bitnami/nginx",
            "index.docker.io/a/b",
            "registry-1.docker.io/a/b",
            "registry.hub.docker.com/a/b",
            "Docker.io/a/b",
        ],
        ["docker.io.evil.example/a/b", "quay.io/docker.io/a", "docker.io:444/a/b"],
    ),
    "Docker Hub by another name": (
        "registry-1.docker.io/bitnami",
        ["bitnami/x", "docker.io/bitnami/x"],
        ["bitnami2/x", "x"],
    ),
    "official images": ("docker.io/library", ["nginx", "library/nginx"], ["bitnami/nginx", "ghcr.io/library/nginx"]),
    "a user of Docker Hub, no official image": ("docker.io/nginx", ["nginx/nginx-ingress"], ["nginx", "library/nginx"]),
    "ECR": (
        f"{ECR}/pay",
        [
            f"{ECR}/pay/api",
            "111122223333.dkr.ecr-fips.us-west-2.amazonaws.com/pay/api",
            "111122223333.dkr-ecr.us-west-2.on.aws/pay",
        ],
        [
            f"{ECR}.evil.example/pay/api",
            "111122223334.dkr-ecr.us-west-2.on.aws/pay",
            f"{ECR}/payment",
            f"{ECR}:8443/pay",
        ],
    ),
    "ECR by its dual-stack host": (
        "111122223333.dkr-ecr.us-west-2.on.aws",
        [f"{ECR}/x"],
        ["111122223334.dkr-ecr.us-west-2.on.aws/x"],
    ),
    "any account's ECR": (
        "*.dkr-ecr.us-west-2.on.aws",
        [f"{ECR}/x", "111122223334.dkr.ecr-fips.us-west-2.amazonaws.com/x"],
        [f"{GOV_ECR}/x"],
    ),
    "any region of an account": (
        "111122223333.dkr.ecr.*.amazonaws.com",
        [f"{ECR}/x", f"{GOV_ECR}/x", "111122223333.dkr-ecr.eu-west-1.on.aws/x"],
        [f"{CN_ECR}/x"],
    ),
    "public ECR": (
        "public.ecr.aws/eks",
        ["ecr-public.aws.com/eks/x"],
        ["public.ecr.aws/eksx/x", "ecr-public.aws.com.evil.example/eks/x"],
    ),
    "localhost": ("localhost:5000", ["localhost:5000/x"], ["localhost:5000", "localhost/x", "localhost:50000/x"]),
    "single label with port": (
        "kind-registry:5000/**",
        ["kind-registry:5000/x"],
        ["kind-registry/x", "kind-registry:500/x"],
    ),
    "upper-case pattern": ("GHCR.IO/org", ["ghcr.io/org/x"], ["quay.io/org/x"]),
    "default port in the pattern": ("ghcr.io:443/org", ["ghcr.io/org/x"], ["ghcr.io:444/org/x"]),
    "IPv6": ("[::1]:5000", ["[0:0::1]:5000/x"], ["[::2]:5000/x", "[::1]/x"]),
}


@pytest.mark.parametrize(("text", "matching", "others"), MATCHES.values(), ids=MATCHES.keys())
def test_pattern_matches_parsed_parts(text: str, matching: list[str], others: list[str]) -> None:
    pattern = reference.parse_pattern(text)
    assert pattern.text == text
    assert [image for image in matching if not pattern.matches(reference.parse(image).repository)] == []
    assert [image for image in others if pattern.matches(reference.parse(image).repository)] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a host expected first"),
        ("nginx", "docker.io/"),
        ("library/nginx", "docker.io/"),
        ("org*", "a host expected first"),
        ("*x/app", "a host expected first"),
        ("ghcr.io/org*", "one whole segment"),
        ("ghcr.io/*-evil", "one whole segment"),
        ("ghcr.io/o*g/x", "one whole segment"),
        ("ghcr.io/***", "one whole segment"),
        ("ghcr.io/**/x", "stands last only"),
        ("ghcr.io/**/**", "stands last only"),
        ("**/x", "stands last only"),
        ("gh*.example.com", "one whole label"),
        ("*hcr.io", "one whole label"),
        ("**.example.com", "one whole label"),
        ("*.example.com:*", "no host"),
        ("ghcr.io/app:v1", "no tag and no digest"),
        ("ghcr.io/app:*", "no tag and no digest"),
        (f"ghcr.io/app@{SHA256}", "no tag and no digest"),
        ("redis:7", "a tag or a port"),
        ("redis:latest", "no host"),
        ("ghcr.io/", "no segment"),
        ("ghcr.io//x", "no segment"),
        ("ghcr.io/Org", "no segment"),
        ("ghcr.io/org-", "no segment"),
        ("ghcr.io/a/../b", "no segment"),
        ("ghcr.io./org", "no host"),
        (".ghcr.io", "no host"),
        ("https://ghcr.io/org", "no host"),
        ("ghcr.io:0/org", "no host"),
        ("user@ghcr.io/org", "no host"),
        ("127.1/org", "no host"),
        ("ghcr.io/org\n", "printable ASCII"),
        (" ghcr.io/org", "printable ASCII"),
        ("ghcr.io/\u043erg", "printable ASCII"),
        ("ghcr.io/" + "a/" * 1000 + "a", "1024"),
        ("*.docker.io", "compared as docker.io"),
        ("*.aws.com", "compared as public.ecr.aws"),
    ],
)
def test_what_is_no_pattern_is_refused_with_a_hint(text: str, said: str) -> None:
    with pytest.raises(MalformedError, match=re.escape(said)) as caught:
        reference.parse_pattern(text)
    assert caught.value.code is Code.MALFORMED


@pytest.mark.parametrize(
    ("text", "literal"),
    [("ghcr.io", True), ("ghcr.io/*", True), ("localhost:5000", True), ("*", False), ("**", False), ("*.io/x", False)],
)
def test_a_literal_host_is_one_registry(text: str, literal: bool) -> None:
    assert reference.parse_pattern(text).has_literal_host is literal


@given(HOST, st.lists(COMPONENT, min_size=1, max_size=4), st.lists(COMPONENT, min_size=1, max_size=4))
def test_a_pattern_without_wildcards_matches_exactly_what_is_below(host: str, own: list[str], other: list[str]) -> None:
    pattern = reference.parse_pattern(f"{host}/{'/'.join(own)}")
    assert pattern.matches(Repository(host, "/".join(own)))
    assert pattern.matches(Repository(host.upper(), "/".join(own + other)))
    assert pattern.matches(Repository(host, "/".join(other))) is (other[: len(own)] == own)
    assert not pattern.matches(Repository(f"{host.partition(':')[0]}.evil.example", "/".join(own)))
    assert not pattern.matches(Repository("evil.example", f"{host.lower().replace(':', '-')}/{'/'.join(own)}"))


def test_patterns_are_values() -> None:
    assert isinstance(reference.parse_pattern("ghcr.io"), Pattern)
    assert reference.parse_pattern("ghcr.io/x") == reference.parse_pattern("ghcr.io/x")
    assert hash(reference.parse_pattern("*.io")) == hash(reference.parse_pattern("*.io"))
