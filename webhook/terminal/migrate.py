"""The options and help texts of `countersign import`; what the commands do is in `policy_from`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from webhook.terminal.options import show_help

app = typer.Typer(
    help="Write the policy that does what Lambda's code signing, Notation or a verifier for ECS does. No network.",
    rich_markup_mode=None,
    epilog="""\b
Examples:
  aws lambda get-code-signing-config --code-signing-config-arn ARN > csc.json; countersign import lambda csc.json
  countersign import notation trustpolicy.json --trust-store ~/.config/notation/truststore --output policy.yaml
  countersign import ecs verifier.env""",
)

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the policy is written; else stdout.")
]


app.callback(invoke_without_command=True)(show_help)


@app.command(
    name="lambda",
    short_help="Of a code signing configuration of AWS Lambda.",
    epilog="""\b
Examples:
  countersign import lambda csc.json
  countersign import lambda csc.json --output policies/lambda.yaml

\b
Exit code: 0 written, 2 unreadable, or a mistake in usage.""",
)
def lambda_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `aws lambda get-code-signing-config` printed.", show_default=False),
    ],
    output: OutputOption = None,
) -> int:
    """Write the policy that does for images what a code signing configuration of AWS Lambda does for functions."""
    from webhook.terminal import policy_from

    return policy_from.code_signing_config(file, output)


@app.command(
    name="notation",
    short_help="Of a trust policy document of Notation, and its trust stores.",
    epilog="""\b
Examples:
  countersign import notation trustpolicy.json --trust-store ~/.config/notation/truststore
  countersign import notation trustpolicy.oci.json --trust-store truststore --output policies/notation.yaml

\b
Exit code: 0 written, 2 unreadable, or a mistake in usage.""",
)
def notation_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A trustpolicy.json.", show_default=False)],
    trust_store: Annotated[
        Path | None,
        typer.Option("--trust-store", metavar="DIR", help="Notation's folder truststore; not for AWS Signer alone."),
    ] = None,
    output: OutputOption = None,
) -> int:
    """Write the policy that decides as a trust policy document of Notation does, its certificates included."""
    from webhook.terminal import policy_from

    return policy_from.trust_policy(file, trust_store, output)


@app.command(
    name="ecs",
    short_help="Of the environment of a verifier for Amazon ECS.",
    epilog="""\b
Examples:
  countersign import ecs verifier.env
  aws lambda get-function-configuration --function-name NAME > function.json; countersign import ecs function.json
  COSIGN_KEY_ARN=arn:aws:kms:us-west-2:111122223333:alias/signing countersign import ecs

\b
Exit code: 0 written, 2 unreadable, or a mistake in usage.""",
)
def ecs_(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="NAME=value lines, or JSON: of a Lambda function, a task or container definition, docker inspect, a "
            "stack; else the variables of this process.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = None,
) -> int:
    """Write the policy that demands the signatures that a verifier for Amazon ECS demands, by its key or profiles."""
    from webhook.terminal import policy_from

    return policy_from.environment(file, output)
