"""What a converter says becomes a policy that reads as it was meant, whatever stands in it."""

from __future__ import annotations

import string

import yaml
from hypothesis import given
from hypothesis import strategies as st

from webhook.migration.draft import NAME_CHARS, Draft, Item, Names, render
from webhook.policy.model import Mode


def test_a_draft_is_written_as_people_write_it() -> None:
    draft = Draft(
        name="one",
        mode=Mode.ENFORCE,
        heading=("First.", "Second."),
        about_mode=("Why.",),
        sections={
            "rules": [Item({"images": ["**"], "signers": ["a"]}, ("Rest.",))],
            "trustedKeys": [Item({"name": "a", "publicKey": "-----BEGIN\nx\n-----END\n"})],
            "deny": [],
        },
    )
    assert (
        render(draft).decode()
        == """\
# First.
#
# Second.
apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata:
  name: one
spec:
  # Why.
  mode: enforce
  trustedKeys:
    - name: a
      publicKey: |
        -----BEGIN
        x
        -----END
  rules:
    # Rest.
    - images:
        - '**'
      signers:
        - a
"""
    )


@given(st.text(), st.text())
def test_any_text_stays_where_it_stands(comment: str, value: str) -> None:
    draft = Draft("one", Mode.WARN, (comment,), {"deny": [Item({"reason": value}, (comment,))]}, (comment,))
    content = render(draft)
    assert yaml.safe_load(content)["spec"] == {"mode": "warn", "deny": [{"reason": value}]}


@given(st.lists(st.text(max_size=80), max_size=20))
def test_names_are_such_as_a_policy_takes_and_none_twice(wanted: list[str]) -> None:
    names = Names()
    given_ = [names.new(text) for text in wanted]
    assert len(set(given_)) == len(wanted)
    for name in given_:
        assert set(name) <= set(string.ascii_lowercase + string.digits + "-")
        assert name.strip("-") == name
        assert 0 < len(name) <= NAME_CHARS + 4
