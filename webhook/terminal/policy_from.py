"""What a team has elsewhere, read from files, and written as a TrustPolicy.

A policy that is written has been loaded first, so that `policy lint` accepts it; where that fails, nothing is written.
What becomes of what is `webhook.migration`'s.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from webhook import files
from webhook.errors import OperatorError
from webhook.migration import code_signing, ecs, folder, notation, reading, statements, variables
from webhook.migration.draft import Draft, render
from webhook.policy import document
from webhook.policy.syntax.mistakes import PolicyErrors


def code_signing_config(file: Path, output: Path | None) -> int:
    """The policy of a code signing configuration of AWS Lambda is written. Raises: OperatorError."""
    return _write(code_signing.convert(_load(file), origin=str(file)), str(file), output)


def trust_policy(file: Path, trust_store: Path | None, output: Path | None) -> int:
    """The policy of a trust policy document of Notation is written. Raises: OperatorError."""
    with reading.mistakes_in(str(file)):
        read = notation.parse(_load(file))
    held = None if trust_store is None else folder.load(trust_store, statements.wanted_stores(read))
    return _write(statements.convert(read, held, origin=str(file)), str(file), output)


def environment(file: Path | None, output: Path | None) -> int:
    """The policy of a verifier for Amazon ECS, by its variables or by ours, is written. Raises: OperatorError."""
    if file is None:
        given = {name: value for name, value in os.environ.items() if name in ecs.KNOWN}
        return _write(ecs.convert(given, origin="the environment"), "the environment", output)
    with reading.mistakes_in(str(file)):
        found = variables.parse(_load(file))
    return _write(ecs.convert(found, origin=str(file)), str(file), output)


def _load(file: Path) -> bytes:
    return files.load(file, reading.MAX_BYTES)


def _write(draft: Draft, origin: str, output: Path | None) -> int:
    """The policy stands in `output`, or on stdout, and can be loaded."""
    content = render(draft)
    try:
        document.parse(content, origin="the policy", now=datetime.now(UTC))
    except PolicyErrors as errors:
        raise OperatorError(f"{origin}: cannot be written as one policy: {errors.mistakes[0]}") from errors
    if output is not None:
        files.save(output, content)
    else:
        sys.stdout.write(content.decode("ascii"))
    return 0
