"""The command line: `verify`, `discover`, `doctor`, `demo` and groups of others: options, help texts, exit codes.

`serve` is listed for the overview: the entry point hands it to the server before this module is imported, since a
server needs neither a command line nor a terminal. Here options become values, and the modules beside this one do the
work; each command brings its own along when it is called, so that help is there at once. A mistake in usage, a file
that cannot be read or a bad policy is told on stderr in plain lines, with exit code 2, never as a traceback.
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

from webhook import version
from webhook.errors import OperatorError
from webhook.policy.syntax.mistakes import PolicyErrors
from webhook.terminal import cluster_app, logs, migrate, policy_app, trust_app
from webhook.terminal.options import (
    USAGE,
    CaFileOption,
    DockerConfigOption,
    ImageArgument,
    InsecureOption,
    NamespaceOption,
    OutputOption,
    PolicyOption,
    PrivateOption,
    RegistriesOption,
    TimeoutOption,
    show_help,
)
from webhook.terminal.paper import BAD, Output, Paper

PROGRAM = "countersign"
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
  countersign scan --policy policies/
  countersign doctor --policy policies/
  countersign serve --policies policies/

Documentation: https://countersign.dev/docs""",
)
app.add_typer(cluster_app.app)
app.add_typer(policy_app.app, name="policy")
app.add_typer(trust_app.app, name="trust-root", short_help="See, refresh and make Sigstore trust roots.")
app.add_typer(migrate.app, name="import", short_help="Write a policy from what Lambda, Notation or ECS has.")


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
) -> None:
    show_help(context)


@app.command(
    short_help="Verify one image, and tell why it is admitted or not.",
    epilog="""\b
Examples:
  countersign verify ghcr.io/acme/shop:1.4 --key release.pub
  countersign verify ghcr.io/acme/shop:1.4 --policy production.yaml --namespace shop
  countersign verify 111122223333.dkr.ecr.us-west-2.amazonaws.com/shop:1.4 \\
    --profile arn:aws:signer:us-west-2:111122223333:/signing-profiles/ecr_profile
  countersign verify ghcr.io/acme/shop:1.4 --key awskms:///alias/image-signing
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
        list[str] | None,
        typer.Option("--key", "-k", metavar="KEY", help="A trusted public key: a file, or awskms:///... (repeatable)."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", metavar="ARN", help="A trusted signing profile of AWS Signer (repeatable)."),
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

    --key and --profile (any of them), --certificate-identity with its issuer, or --policy says what is demanded.
    """
    from webhook.terminal import configured
    from webhook.terminal import verify as command

    wanted = command.Wanted(
        image=image,
        keys=tuple(key or ()),
        profiles=tuple(profile or ()),
        certificate=command.Certificate(
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
    settings = configured.read(os.environ, registries=registries, docker_config=docker_config, ca_file=ca_file)
    return command.run(wanted, settings, output=output, paper=Paper(sys.stdout))


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
    from webhook.terminal import configured
    from webhook.terminal import discover as command

    wanted = command.Wanted(
        image=image,
        timeout=timeout,
        insecure=tuple(insecure_registry or ()),
        private=tuple(private_registry or ()),
    )
    settings = configured.read(os.environ, registries=registries, docker_config=docker_config, ca_file=ca_file)
    return command.run(wanted, settings, output=output, paper=Paper(sys.stdout))


@app.command(
    short_help="Try the registries, keys and profiles that policies name.",
    epilog="""\b
Examples:
  countersign doctor --policy policies/
  countersign doctor --policy production.yaml 111122223333.dkr.ecr.us-west-2.amazonaws.com/shop:1.4
  kubectl exec deployment/countersign -- countersign doctor ghcr.io/acme/shop:1.4
  countersign doctor ghcr.io/acme/shop:1.4 --output json | jq '.subjects[] | select(.well | not)'

\b
Exit code: 0 all is well, 1 something is wrong, 2 a mistake in usage.""",
)
def doctor(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help="Images whose registries are asked for them.", show_default=False),
    ] = None,
    policy: PolicyOption = None,
    output: OutputOption = Output.TEXT,
    timeout: TimeoutOption = 30,
    registries: RegistriesOption = None,
    docker_config: DockerConfigOption = None,
    insecure_registry: InsecureOption = None,
    private_registry: PrivateOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Try what verifying depends on, from here: each registry, KMS key and signing profile, and who is asking.

    Tells the address dialled and whether it may be, the identity used, and the permission that is missing.
    """
    from webhook.terminal import configured
    from webhook.terminal import doctor as command

    wanted = command.Wanted(
        images=tuple(images or ()),
        policies=tuple(policy or ()),
        timeout=timeout,
        insecure=tuple(insecure_registry or ()),
        private=tuple(private_registry or ()),
    )
    settings = configured.read(os.environ, registries=registries, docker_config=docker_config, ca_file=ca_file)
    return command.run(wanted, settings, output=output, paper=Paper(sys.stdout))


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
