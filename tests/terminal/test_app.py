from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal.conftest import Commands
from webhook.terminal import lint as lint_command
from webhook.terminal import options

COMMANDS = [
    ("verify",), ("discover",), ("doctor",), ("demo",), ("policy",), ("policy", "lint"), ("policy", "explain"),
    ("trust-root",), ("import",),
]  # fmt: skip
SERVER, SDK = {"fastapi", "uvicorn", "uvloop"}, {"boto3", "botocore"}
CLUSTER = {"kubernetes", "webhook.installation"}


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_with_examples(commands: Commands, command: tuple[str, ...], flag: str) -> None:
    told = commands.run(*command, flag)
    assert told.code == 0
    assert told.out.startswith(f"Usage: {' '.join(('countersign', *command))}")
    assert re.search("Examples:\n    (aws .*; )?countersign ", told.out)
    assert told.err == ""


def test_the_overview_lists_serve(commands: Commands) -> None:
    assert re.search(r"serve +Run the webhook", commands.run("--help").out)


def test_version(commands: Commands) -> None:
    told = commands.run("--version")
    assert told.code == 0
    assert told.out.startswith("countersign ")


@pytest.mark.parametrize("argv", [(), ("policy",)], ids=["countersign", "policy"])
def test_a_command_without_a_name_shows_help_and_is_no_success(commands: Commands, argv: tuple[str, ...]) -> None:
    told = commands.run(*argv)
    assert told.code == 2
    assert told.out.startswith("Usage: ")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(("foo",), "no such command 'foo'", id="command"),
        pytest.param(("verify",), "missing argument 'IMAGE'", id="no-image"),
        pytest.param(
            ("verify", "nginx"),
            "one of --key or --profile, --certificate-identity and --policy expected",
            id="nothing demanded",
        ),
        pytest.param(("verify", "nginx", "--foo"), "no such option: --foo", id="option"),
        pytest.param(("verify", "nginx", "-o", "xml"), "'xml' is not one of 'text', 'json'", id="output"),
        pytest.param(("verify", "nginx", "--timeout", "0"), "--timeout", id="timeout"),
        pytest.param(("verify", "nginx", "--timeout", "nan"), "--timeout", id="timeout-nan"),
        pytest.param(("verify", "nginx", "-k", "none.pub"), "--key none.pub: cannot be read", id="key"),
        pytest.param(("verify", "nginx", "-p", "none.yaml"), "none.yaml", id="policy"),
        pytest.param(("verify", "NG INX", "-k", "none.pub"), "IMAGE: ", id="image"),
        pytest.param(("verify", "nginx", "-k", "."), "--key .: cannot be read", id="key-is-a-folder"),
        pytest.param(("policy", "lint"), "missing argument 'PATH'", id="lint-nothing"),
        pytest.param(("policy", "lint", "none.yaml"), "none.yaml: no such file or directory", id="lint-missing"),
        pytest.param(("policy", "explain", "nginx"), "--policy expected", id="explain-no-policy"),
        pytest.param(("policy", "explain", "a:b:c", "-p", "."), "IMAGE: ", id="explain-image"),
        pytest.param(("demo", "--twice"), "no such option: --twice", id="demo"),
    ],
)
def test_a_mistake_in_usage_is_one_line(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = commands.run(*argv)
    assert told.code == 2
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("error: ")
    assert said in told.err


def test_a_wrong_setting_is_one_line(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_NO_MATCH", "perhaps")
    told = commands.run("policy", "lint", ".")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "COUNTERSIGN_NO_MATCH" in told.err


def test_a_defect_does_not_look_like_a_denial(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> int:
        raise KeyError("a defect")

    monkeypatch.setattr(lint_command, "lint", broken)
    told = commands.run("policy", "lint", ".")
    assert told.code == 2
    assert "KeyError" in told.err


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        # What would make `countersign --help` wait: the rest takes a quarter of a second
        ("webhook.terminal.app", SERVER | SDK | CLUSTER | {"aiohttp", "cryptography", "pydantic", "yaml"}),
        ("webhook.terminal.verify", SERVER | SDK | CLUSTER),
        ("webhook.terminal.doctor", SERVER | SDK | CLUSTER),
        ("webhook.terminal.scan", SERVER | SDK | {"webhook.installation"}),
        # A server whose policies are files: the Kubernetes client takes 7 MiB
        ("webhook.runtime", SDK | CLUSTER | {"rich", "typer"}),
        ("webhook.demo.stage", SDK | CLUSTER),
    ],
    ids=["help", "verify", "doctor", "scan", "serve", "demo"],
)
def test_nothing_waits_for_what_it_does_not_use(module: str, spared: set[str]) -> None:
    script = f"import sys, {module}; print(sorted({spared} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_the_entry_point_ends_with_the_commands_code(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "webhook.cli", "verify", "nginx", "--key", str(tmp_path / "none.pub")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == options.USAGE
    assert done.stderr.startswith("error: --key ")
    assert "Traceback" not in done.stderr
