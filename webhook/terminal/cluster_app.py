"""The commands that speak to a cluster: `scan`, and what the chart runs in its hooks, `selftest` and `unregister`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from webhook.settings import NoMatch
from webhook.terminal.options import (
    CaFileOption,
    DockerConfigOption,
    InsecureOption,
    OutputOption,
    PolicyOption,
    PrivateOption,
    RegistriesOption,
)
from webhook.terminal.paper import Output, Paper

app = typer.Typer()

KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Else KUBECONFIG, ~/.kube/config, or the pod's own account."),
]
ContextOption = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Of the kubeconfig.")]
ConfigurationArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Of the webhook configurations, as the chart named them.")
]


@app.command(
    short_help="Say what would be denied of all that runs in a cluster.",
    epilog="""\b
Examples:
  countersign scan --policy production.yaml
  countersign scan --policies-in countersign
  countersign scan --policy policies/ --namespace shop --namespace pay
  countersign scan --policy policies/ --output json | jq -r '.images[] | select(.result == "denied") | .image'

\b
Exit code: 0 all would be admitted, 1 something would be denied, 2 could not tell, or a mistake in usage.""",
)
def scan(
    policy: PolicyOption = None,
    policies_in: Annotated[
        str | None,
        typer.Option("--policies-in", metavar="NS", help="Those that are applied there, instead of --policy."),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", metavar="NS", help="Only these (repeatable); else all but kube-system's."),
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    no_match: Annotated[
        NoMatch, typer.Option("--no-match", help="What becomes of an image of which no policy speaks.")
    ] = NoMatch.DENY,
    output: OutputOption = Output.TEXT,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=300, help="Time for each image.")
    ] = 30,
    registries: RegistriesOption = None,
    docker_config: DockerConfigOption = None,
    insecure_registry: InsecureOption = None,
    private_registry: PrivateOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Judge every image that runs in a cluster, as the webhook would judge a new pod with the policies enforced.

    Pods, and the templates of what has none now, as a CronJob may. Nothing is changed; the role `view` suffices.
    """
    from webhook.terminal import configured
    from webhook.terminal import scan as command

    wanted = command.Wanted(
        policies=tuple(policy or ()),
        policies_in=policies_in or "",
        namespaces=tuple(dict.fromkeys(namespace or ())),
        kubeconfig=kubeconfig,
        context=context,
        no_match=no_match,
        timeout=timeout,
        insecure=tuple(insecure_registry or ()),
        private=tuple(private_registry or ()),
    )
    settings = configured.read(os.environ, registries=registries, docker_config=docker_config, ca_file=ca_file)
    return command.run(wanted, settings, output=output, paper=Paper(sys.stdout), errors=sys.stderr)


@app.command(
    short_help="Try an installation: its certificate, its answer to a review.",
    epilog="""\b
Examples:
  countersign selftest countersign             what `helm test` runs in the cluster

\b
Exit code: 0 all is well, 1 something is wrong, 2 a mistake in usage.""",
)
def selftest(
    name: ConfigurationArgument,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> int:
    """Send a review to each entry of a live webhook configuration, as its API server would: by its service, its path
    and its caBundle. From inside the cluster, where the names of services mean something."""
    from webhook.terminal import selftest as command

    return command.run(name, kubeconfig=kubeconfig, context=context, paper=Paper(sys.stdout))


@app.command(
    short_help="Delete the webhook configurations: nothing is judged any more.",
    epilog="""\b
Examples:
  countersign unregister countersign           what `helm uninstall` runs before anything else goes

\b
Exit code: 0 both are gone, 2 the API server refused, or a mistake in usage.""",
)
def unregister(
    name: ConfigurationArgument,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> int:
    """Delete the validating and the mutating webhook configuration NAME, whichever are there."""
    from webhook.terminal import unregister as command

    return command.run(name, kubeconfig=kubeconfig, context=context, paper=Paper(sys.stdout))
