"""The command line: `verify`, `discover`, `demo`, `policy`, `trust-root`: options, help texts, exit codes.

`serve` is listed for the overview: the entry point hands it to the server before this module is imported, since a
server needs neither a command line nor a terminal. Here options become values, and the modules beside this one do the
work. A mistake in usage, a file that cannot be read or a bad policy is told on stderr in plain lines, with exit code
2, never as a traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from webhook import environment, settings, version
from webhook.errors import OperatorError
from webhook.policy.syntax.mistakes import PolicyErrors
from webhook.terminal import discover as discover_command
from webhook.terminal import explain as explain_command
from webhook.terminal import lint as lint_command
from webhook.terminal import logs, trust_app
from webhook.terminal import verify as verify_command
from webhook.terminal.paper import BAD, Output, Paper

PROGRAM = "countersign"
USAGE = 2  # or a defect of ours
WIDTH = 100  # of help texts, where the terminal has it

app = typer.Typer(
    name=PROGRAM,
    help="Admit only images signed by whom your policy trusts.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
    epilog="""\b
Examples:
  countersign demo
  countersign verify ghcr.io/acme/shop:1.4 --key release.pub
  countersign policy lint policies/
  countersign serve --policies policies/

Documentation: https://countersign.dev/docs""",
)
policy_app = typer.Typer(
    help="Check trust policies, and ask them what they demand. No network is used.",
    rich_markup_mode=None,
    epilog="""\b
Examples:
  countersign policy lint policies/
  countersign policy explain ghcr.io/acme/shop:1.4 --namespace shop --policy policies/production.yaml""",
)
app.add_typer(policy_app, name="policy")
app.add_typer(trust_app.app, name="trust-root", short_help="See, refresh and make Sigstore trust roots.")

ImageArgument = Annotated[
    str, typer.Argument(metavar="IMAGE", help="The image, as a pod would name it.", show_default=False)
]
PolicyOption = Annotated[
    list[Path] | None,
    typer.Option("--policy", "-p", metavar="FILE", help="A trust policy, or a folder of them (repeatable)."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="The namespace of the pod.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or one JSON document for programs.")]
# Of every command that asks a registry.
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=300, help="Time for all of it.")
]
RegistriesOption = Annotated[
    Path | None, typer.Option("--registries", metavar="FILE", help="What is to be known of registries.")
]
DockerConfigOption = Annotated[
    Path | None,
    typer.Option("--docker-config", metavar="FILE", help="Credentials; else ~/.docker/config.json is used."),
]
InsecureOption = Annotated[
    list[str] | None,
    typer.Option("--insecure-registry", metavar="HOST", help="Plain HTTP to HOST[:PORT], loopback too (repeatable)."),
]
PrivateOption = Annotated[
    list[str] | None,
    typer.Option("--private-registry", metavar="HOST", help="HOST[:PORT] may be at a private address (repeatable)."),
]
CaFileOption = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Authorities trusted too, for every registry.")
]


def run(argv: Sequence[str]) -> int:
    """The exit code of the command in `argv`, which has been run; whatever it had to say was written."""
    logs.to_stderr()
    try:
        code = get_command(app).main(args=list(argv), prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _complain(_lower(error.format_message()) + _hint(error))
    except PolicyErrors as errors:
        return _complain(*(str(mistake) for mistake in errors.mistakes))
    except OperatorError as error:
        return _complain(str(error))
    except Exception:  # noqa: BLE001 - a defect must not end with the exit code that means "denied"
        traceback.print_exc()
        return USAGE
    return code if isinstance(code, int) else 0


def _complain(*lines: str) -> int:
    paper = Paper(sys.stderr)
    for line in lines:
        paper.line(("error: ", BAD), line, hang=2)
    return USAGE


def _lower(message: str) -> str:
    message = message.replace("Value error, ", "")
    return message[:1].lower() + message[1:].removesuffix(".")


def _hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context else ""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {version.installed()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> int:
    return _show_help(context)


@policy_app.callback(invoke_without_command=True)
def _policy(context: typer.Context) -> int:
    return _show_help(context)


def _show_help(context: typer.Context) -> int:
    """A command that was called without the name of what it should do says what it can do; that is no success."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)
    return 0


@app.command(
    short_help="Verify one image, and tell why it is admitted or not.",
    epilog="""\b
Examples:
  countersign verify ghcr.io/acme/shop:1.4 --key release.pub
  countersign verify ghcr.io/acme/shop:1.4 --policy production.yaml --namespace shop
  countersign verify ghcr.io/acme/shop:1.4 \\
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \\
    --certificate-identity https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main
  countersign verify ghcr.io/acme/shop@sha256:... --key release.pub --output json | jq .verdict
  countersign verify registry.corp:5000/shop:1.4 --key release.pub --insecure-registry registry.corp:5000

\b
Exit code: 0 admitted, 1 denied, 2 could not tell, or a mistake in usage.""",
)
def verify(
    image: ImageArgument,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", "-k", metavar="FILE", help="A public key that is trusted (repeatable)."),
    ] = None,
    certificate_identity: Annotated[
        str | None,
        typer.Option("--certificate-identity", metavar="NAME", help="Whom a certificate must name, letter by letter."),
    ] = None,
    certificate_identity_regexp: Annotated[
        str | None,
        typer.Option("--certificate-identity-regexp", metavar="RE2", help="The same by a pattern of the whole name."),
    ] = None,
    certificate_oidc_issuer: Annotated[
        str | None, typer.Option("--certificate-oidc-issuer", metavar="URL", help="Who must vouch for that name.")
    ] = None,
    certificate_oidc_issuer_regexp: Annotated[
        str | None,
        typer.Option("--certificate-oidc-issuer-regexp", metavar="RE2", help="The same by a pattern of the whole URL."),
    ] = None,
    trusted_root: Annotated[
        Path | None,
        typer.Option(
            "--trusted-root", metavar="FILE", help="The trusted_root.json that certifies it; else the public one."
        ),
    ] = None,
    policy: PolicyOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TEXT,
    timeout: TimeoutOption = 30,
    registries: RegistriesOption = None,
    docker_config: DockerConfigOption = None,
    insecure_registry: InsecureOption = None,
    private_registry: PrivateOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Verify one image as the webhook would, and tell what was looked at and why it counts or not.

    --key (any of the keys), --certificate-identity with its issuer, or --policy says what is demanded.
    """
    wanted = verify_command.Wanted(
        image=image,
        keys=tuple(key or ()),
        certificate=verify_command.Certificate(
            issuer=certificate_oidc_issuer,
            issuer_regexp=certificate_oidc_issuer_regexp,
            subject=certificate_identity,
            subject_regexp=certificate_identity_regexp,
            trusted_root=trusted_root,
        ),
        policies=tuple(policy or ()),
        namespace=namespace,
        timeout=timeout,
        insecure=tuple(insecure_registry or ()),
        private=tuple(private_registry or ()),
    )
    configured = verify_command.configure(
        os.environ, registries=registries, docker_config=docker_config, ca_file=ca_file
    )
    return verify_command.run(wanted, configured, output=output, paper=Paper(sys.stdout))


@app.command(
    short_help="List all that is attached to an image, as a tree.",
    epilog="""\b
Examples:
  countersign discover ghcr.io/acme/shop:1.4
  countersign discover ghcr.io/acme/shop@sha256:... --output json | jq '.places[].items[].what'

\b
Exit code: 0 all of it was looked at, 2 something could not be, or a mistake in usage.""",
)
def discover(
    image: ImageArgument,
    output: OutputOption = Output.TEXT,
    timeout: TimeoutOption = 30,
    registries: RegistriesOption = None,
    docker_config: DockerConfigOption = None,
    insecure_registry: InsecureOption = None,
    private_registry: PrivateOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """List signatures, attestations, SBOMs and whatever else is attached to an image. Nothing of it is verified."""
    wanted = discover_command.Wanted(
        image=image,
        timeout=timeout,
        insecure=tuple(insecure_registry or ()),
        private=tuple(private_registry or ()),
    )
    configured = verify_command.configure(
        os.environ, registries=registries, docker_config=docker_config, ca_file=ca_file
    )
    return discover_command.run(wanted, configured, output=output, paper=Paper(sys.stdout))


@app.command(
    short_help="See the main job done, without a cluster.",
    epilog="""\b
Examples:
  countersign demo           stays up for your own tries until Ctrl-C
  countersign demo --once    exit code 0 when every answer was as it should be, else 1""",
)
def demo(
    once: Annotated[bool, typer.Option("--once", help="Run and end, instead of staying up.")] = False,
) -> int:
    """See the main job done, without a cluster: signed, unsigned and tampered images meet the real webhook.

    A registry, images, keys and a policy are made on the spot, on loopback and in a temporary folder.
    """
    # Only this command brings the server's world along: the others should not wait for a web framework.
    from webhook.terminal import demo as demo_command

    return demo_command.run(once=once, paper=Paper(sys.stdout))


@app.command(
    add_help_option=False,
    short_help="Run the webhook until SIGTERM; see countersign serve --help.",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(context: typer.Context) -> int:
    """Listed for the overview: the entry point goes straight to the server, and so does `countersign serve --help`."""
    from webhook import runtime

    return runtime.main(context.args)


@policy_app.command(
    short_help="Check policies: mistakes, with line and column, and findings.",
    epilog="""\b
Examples:
  countersign policy lint policies/
  countersign policy lint --strict production.yaml staging.yaml
  countersign policy lint policies/ --output json

\b
Exit code: 0 clean, 1 mistakes (with --strict findings too), 2 unreadable, or a mistake in usage.""",
)
def lint(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Policy files, or folders of them.", show_default=False)
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Findings count as mistakes.")] = False,
    output: OutputOption = Output.TEXT,
) -> int:
    """Check policies: every mistake with its line and column, and findings on what they may not mean."""
    return lint_command.lint(tuple(paths), _policy_settings(), strict=strict, output=output, paper=Paper(sys.stdout))


@policy_app.command(
    short_help="Say what policies demand of an image, and why.",
    epilog="""\b
Examples:
  countersign policy explain ghcr.io/acme/shop:1.4 --namespace shop --policy policies/
  countersign policy explain nginx --namespace shop --policy production.yaml --policy base.yaml --output json""",
)
def explain(
    image: ImageArgument,
    policy: PolicyOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TEXT,
) -> int:
    """Say which policies speak about an image, which rule decides, and what it demands. No network is used."""
    return explain_command.explain(
        image,
        tuple(policy or ()),
        _policy_settings(),
        namespace=namespace,
        output=output,
        paper=Paper(sys.stdout),
    )


def _policy_settings() -> settings.Policy:
    return environment.read(os.environ).policy
