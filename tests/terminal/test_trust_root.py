"""`trust-root show`, `update` and `import`: what they say, what they write, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.private_sigstore.tuf import TUFRepository, serving
from tests.terminal.conftest import TRUSTED, Commands, policy
from webhook.demo import signing
from webhook.trust import mirror, root, sources

SHIPPED = mirror.packaged_document()


@pytest.fixture
def repository() -> TUFRepository:
    made = TUFRepository()
    made.publish(SHIPPED)
    return made


@pytest.fixture
def url(repository: TUFRepository, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "root.json").write_bytes(repository.root)
    with serving(repository) as address:
        yield address


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.pem"
    listed = sources.packaged().certificate_authorities[1].chain
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in listed))
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "rekor.pub"
    path.write_text(TRUSTED.public_pem)
    return path


def fewer() -> bytes:
    document = json.loads(SHIPPED)
    document["tlogs"].pop()
    return json.dumps(document).encode()


def test_what_is_shipped_is_shown(commands: Commands) -> None:
    told = commands.run("trust-root", "show")
    assert (told.code, told.err) == (0, "")
    for said in (
        "public-good  shipped with this version",
        "https://fulcio.sigstore.dev  2021-03-07T03:20:29Z to 2022-12-31T23:59:59Z",
        "CN=sigstore-intermediate,O=sigstore.dev",
        "https://rekor.sigstore.dev  since 2021-01-12T11:53:27Z",
        "Ed25519, id cf1199155bddd051268d1f16ac5c0c75c009f6fb5a63f4177f8e18d7051e3fa0",
        "https://timestamp.sigstore.dev/api/v1/timestamp  since 2025-07-04T00:00:00Z",
    ):
        assert said in told.out


def test_a_file_is_shown_to_programs_too(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "corp.json").write_bytes(SHIPPED)
    told = commands.run("trust-root", "show", tmp_path / "corp.json", "--output", "json")
    (shown,) = json.loads(told.out)
    assert (shown["name"], shown["at_hand"]) == ("corp.json", True)
    assert shown["fingerprint"] == f"sha256:{sources.packaged().fingerprint}"
    assert [log["key"]["algorithm"] for log in shown["transparency_logs"]] == ["ECDSA P-256", "Ed25519"]
    assert shown["ct_logs"][0]["end"] == "2022-10-31T23:59:59Z"
    assert len(shown["certificate_authorities"][1]["chain"]) == 2


def test_the_roots_that_a_policy_names_are_shown(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy())
    told = commands.run("trust-root", "show", "--policy", tmp_path / "policy.yaml")
    assert told.code == 0
    assert "public-good  shipped" in told.out


def test_a_root_that_is_not_at_hand_is_said(commands: Commands, tmp_path: Path) -> None:
    text = policy().replace("      publicKey: |", "      trustRoot: corp\n      publicKey: |")
    text += "  trustRoots:\n    - name: corp\n      file: corp.json\n"
    (tmp_path / "policy.yaml").write_text(text)
    told = commands.run("trust-root", "show", "--policy", tmp_path / "policy.yaml")
    assert told.code == 1
    assert "corp  not at hand; there is no file corp.json" in told.out


def test_a_root_in_a_cluster_is_not_at_hand(commands: Commands, tmp_path: Path) -> None:
    text = policy().replace("      publicKey: |", "      trustRoot: corp\n      publicKey: |")
    text += "  trustRoots:\n    - name: corp\n      configMap: {name: roots, key: corp.json}\n"
    (tmp_path / "policy.yaml").write_text(text)
    told = commands.run("trust-root", "show", "--policy", tmp_path / "policy.yaml")
    assert told.code == 1
    assert "corp  in the ConfigMap roots, which only a server in its cluster reads" in told.out


def test_update_writes_what_the_repository_vouches_for(
    commands: Commands, repository: TUFRepository, url: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    update = ("trust-root", "update", "--mirror", url, "--root", tmp_path / "root.json", "--out", out)
    repository.publish(fewer())
    told = commands.run(*update)
    assert (told.code, out.read_bytes()) == (0, fewer())
    assert ", transparency logs: 1, " in told.out
    repository.publish(SHIPPED)
    told = commands.run(*update)
    assert out.read_bytes() == SHIPPED
    assert "added: transparency log https://log2025-1.rekor.sigstore.dev" in told.out
    assert commands.run(*update).out.startswith("unchanged ")
    told = commands.run(*update, "--output", "json")
    assert json.loads(told.out)["written"] is False
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_a_refused_update_leaves_the_file(
    commands: Commands, repository: TUFRepository, url: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    out.write_bytes(SHIPPED)
    document = json.loads(SHIPPED)
    repository.publish(json.dumps(document | {"tlogs": []}).encode())
    told = commands.run("trust-root", "update", "--mirror", url, "--root", tmp_path / "root.json", "--out", out)
    assert (told.code, told.err.count("\n"), out.read_bytes()) == (2, 1, SHIPPED)
    assert "no transparency log left" in told.err
    out.write_text("my notes")
    told = commands.run("trust-root", "update", "--mirror", url, "--root", tmp_path / "root.json", "--out", out)
    assert (told.code, out.read_text()) == (2, "my notes")


def test_an_update_by_another_root_is_refused(commands: Commands, url: str, tmp_path: Path) -> None:
    told = commands.run("trust-root", "update", "--mirror", url, "--out", tmp_path / "out.json")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "Metadata: " in told.err
    assert not (tmp_path / "out.json").exists()


def test_pem_files_become_a_root(commands: Commands, chain: Path, key: Path, tmp_path: Path) -> None:
    out = tmp_path / "corp.json"
    other = tmp_path / "ctfe.pub"
    other.write_text(signing.new_key().public_pem)
    told = commands.run(
        *("trust-root", "import", "--fulcio", chain, "--rekor", key, "--rekor-url", "https://rekor.corp"),
        *("--ctfe", other, "--tsa", chain, "--out", out),
    )
    assert told.code == 0, told.err
    kinds = ("certificate authorities", "transparency logs", "certificate transparency logs", "timestamp authorities")
    assert told.out.endswith(": " + ", ".join(f"{kind}: 1" for kind in kinds) + "\n")
    made = root.parse(out.read_bytes())
    assert made.logs[0].url == "https://rekor.corp"
    assert commands.run("trust-root", "show", out).out.count("  always\n") == 4


def test_several_roots_stay_apart(commands: Commands, tmp_path: Path) -> None:
    lines = tmp_path / "roots.jsonl"
    one, two = (json.dumps(json.loads(data)).encode() for data in (SHIPPED, fewer()))
    lines.write_bytes(one + b"\n" + two + b"\n")
    told = commands.run("trust-root", "import", lines, "--out", tmp_path / "github.json")
    assert told.code == 0, told.err
    assert "never merged" in told.out
    assert (tmp_path / "github-1.json").read_bytes() == one
    assert (tmp_path / "github-2.json").read_bytes() == two
    assert not (tmp_path / "github.json").exists()
    assert commands.run("trust-root", "import", lines, "--index", 2, "--out", tmp_path / "github.json").code == 0
    assert (tmp_path / "github.json").read_bytes() == two


def test_one_root_in_many_lines_is_one(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_bytes(json.dumps(json.loads(SHIPPED), indent=2).encode())
    told = commands.run("trust-root", "import", tmp_path / "in.json", "--out", tmp_path / "out.json")
    assert told.code == 0, told.err
    assert root.parse((tmp_path / "out.json").read_bytes()) == sources.packaged()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(("show", "none.json"), "none.json: cannot be read", id="show-unreadable"),
        pytest.param(("show", "garbage"), "garbage: trust root: not JSON", id="show-garbage"),
        pytest.param(("show", "garbage", "-p", "."), "one of FILE and --policy", id="show-both"),
        pytest.param(("update",), "--out", id="update-without-out"),
        pytest.param(
            ("update", "--out", "o", "--mirror", "http://tuf.corp"), "--mirror: an https URL", id="update-http"
        ),
        pytest.param(("update", "--out", "o", "--root", "garbage"), "--root", id="update-root-alone"),
        pytest.param(("import", "--out", "o"), "either FILE, or PEM files", id="import-nothing"),
        pytest.param(("import", "garbage", "--rekor", "garbage", "--out", "o"), "either FILE", id="import-both"),
        pytest.param(
            ("import", "--rekor", "garbage", "--out", "o"), "transparency log 1: public key", id="import-no-key"
        ),
        pytest.param(("import", "--fulcio", "garbage", "--out", "o"), "certificates in PEM", id="import-no-chain"),
        pytest.param(("import", "garbage", "--out", "o"), "garbage: root 1: trust root", id="import-garbage"),
        pytest.param(("import", "garbage", "--index", "2", "--out", "o"), "--index", id="import-index"),
        pytest.param(("import", "--tsa", "garbage", "--index", "1", "--out", "o"), "--index", id="import-index-of-pem"),
        pytest.param(("import", "--ctfe", "garbage", "--rekor-url", "x", "--out", "o"), "--rekor-url", id="import-url"),
    ],
)
def test_a_mistake_is_one_line(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garbage").write_text("garbage")
    told = commands.run("trust-root", *argv)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert said in told.err
    assert {path.name for path in tmp_path.iterdir()} <= {"garbage", "home"}
