"""`policy lint`: every mistake in policy files where it stands, and findings on what they may not mean.

Lines have the form that editors and CI systems read, `file:line:column: message`; the last line counts. Findings are
no mistakes: a policy with findings is in force as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from webhook import settings
from webhook.policy import lint as findings
from webhook.policy.lint import Finding
from webhook.policy.syntax.mistakes import Mistake, PolicyErrors
from webhook.terminal import given
from webhook.terminal.facts import Document
from webhook.terminal.paper import BAD, GOOD, STRONG, UNSURE, Output, Paper

CLEAN, WRONG = 0, 1


def lint(paths: Sequence[Path], configured: settings.Policy, *, strict: bool, output: Output, paper: Paper) -> int:
    """All that is wrong in `paths` is told; the exit code says whether there was any. Raises: OperatorError."""
    mistakes: tuple[Mistake, ...] = ()
    found: tuple[Finding, ...] = ()
    policies = 0
    try:
        loaded = given.policies(paths, configured)
        found = findings.lint(loaded, now=datetime.now(UTC))
        policies = len(loaded.policies)
    except PolicyErrors as errors:
        mistakes = errors.mistakes
    if output is Output.JSON:
        paper.document(_lint_document(policies, mistakes, found))
    else:
        _write_lint(policies, mistakes, found, paper)
    return WRONG if mistakes or (strict and found) else CLEAN


def _write_lint(policies: int, mistakes: Sequence[Mistake], found: Sequence[Finding], paper: Paper) -> None:
    for mistake in mistakes:
        paper.line((f"{mistake.origin}:{mistake.line}:{mistake.column}: ", STRONG), _said(mistake), hang=2)
    for finding in found:
        place = f"{finding.origin}:{finding.line}" if finding.line else finding.origin
        paper.line((f"{place}: ", STRONG), ("finding: ", UNSURE), _found(finding), hang=2)
    if mistakes:
        paper.line((_count(len(mistakes), "mistake"), f"{STRONG} {BAD}"))
    elif found:
        paper.line(f"{_count(policies, 'policy', 'policies')}, ", (_count(len(found), "finding"), UNSURE))
    else:
        paper.line(f"{_count(policies, 'policy', 'policies')}, ", ("no mistakes", GOOD))


def _said(mistake: Mistake) -> str:
    return f"{mistake.path}: {mistake.message}" if mistake.path else mistake.message


def _found(finding: Finding) -> str:
    where = f"{finding.path}: " if finding.path else ""
    return f"{where}{finding.message} [{finding.code}]"


def _lint_document(policies: int, mistakes: Sequence[Mistake], found: Sequence[Finding]) -> Document:
    return {
        "policies": policies,
        "mistakes": [
            {"file": m.origin, "line": m.line, "column": m.column, "path": m.path, "message": m.message}
            for m in mistakes
        ],
        "findings": [
            {
                "file": f.origin,
                "line": f.line or None,
                "policy": f.policy,
                "path": f.path,
                "code": f.code,
                "message": f.message,
            }
            for f in found
        ],
    }


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number or 'no'} {one if number == 1 else many or one + 's'}"
