from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.policy.configmap_objects import BROKEN, configmap
from tests.policy.documents import KEYS, NOW, parse, policy
from webhook import settings
from webhook.admission import policies
from webhook.admission.policies import NAMESPACE_CONTROLLER, Policies
from webhook.admission.review import UnexaminedError
from webhook.admission.watch import Watch
from webhook.audit.record import Entry
from webhook.errors import MalformedError
from webhook.policy import parcel
from webhook.policy.model import TrustPolicy

PINNED = KEYS + "  tags: deny\n"  # nothing for lint to find
WARN = policy("prod", mode="warn", more=PINNED)
GOOD = policy("prod", more=PINNED)
OTHER = policy("other", more=PINNED)
OWN = "system:serviceaccount:countersign:countersign"


NOTHING: Mapping[str, str] = {}


class Cluster:
    """What is in force, and who asks, for one entry."""

    def __init__(
        self,
        in_force: Mapping[str, str] = NOTHING,
        *,
        writers: tuple[str, ...] = (),
        trust_secrets: tuple[str, ...] = (),
        pinning: bool = False,
    ) -> None:
        self.in_force: Mapping[str, tuple[TrustPolicy, ...]] = {name: parse(text) for name, text in in_force.items()}
        self.fails_open = False
        self.own_user = OWN
        self.entry = Policies(
            in_force=lambda: self.in_force,
            trusted=lambda: {("secrets", "keys"), ("configmaps", "roots")},
            own_user=lambda: self.own_user,
            fails_open=lambda: self.fails_open,
            cluster=settings.Cluster(
                namespace="countersign", last_good="last-good", policy_writers=writers, trust_secrets=trust_secrets
            ),
            policy=settings.Policy(),
            pinning=pinning,
            clock=lambda: NOW,
        )

    async def ask(self, old: object, new: object, **changes: Any) -> tuple[Entry, dict[str, Any]]:
        request = self.entry.parse(review(old, new, **changes))
        entry, body = await self.entry.decide(Watch(), request, 5.0)
        answer = orjson.loads(body)
        assert (answer["response"]["uid"], entry.webhook) == ("1", "policies")
        return entry, answer["response"]


def review(old: object, new: object, **changes: Any) -> bytes:
    request = {
        "uid": "1",
        "operation": "CREATE" if old is None else "DELETE" if new is None else "UPDATE",
        "namespace": "countersign",
        "name": "prod",
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
    }
    return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | changes})


def unlabelled(name: str = "prod", text: str = BROKEN) -> dict[str, Any]:
    return configmap(name, text, metadata={"labels": {}})


def by(user: str, *groups: str) -> dict[str, Any]:
    return {"userInfo": {"username": user, "groups": list(groups)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"data": {"a.yaml": BROKEN}}, "configmap/prod: a.yaml:1:1: apiVersion: required, and missing",
                     id="mistake"),
        pytest.param({"data": {"a.yaml": "{"}}, "configmap/prod: a.yaml:2:1: not YAML: ", id="not YAML"),
        pytest.param({"data": {"a.yaml": GOOD + "---\n" + BROKEN}}, "configmap/prod: a.yaml:22:1: apiVersion",
                     id="one of two documents"),
        pytest.param({"binaryData": {"a.yaml": "aGVsbG8="}}, "configmap/prod: binaryData[a.yaml]: policies are text",
                     id="binary data"),
        pytest.param({"data": {"policy": GOOD}}, "configmap/prod: data: a key that ends in .yaml or .yml expected",
                     id="no policy file"),
        pytest.param({"data": None}, "configmap/prod: data: a key that ends in", id="null data"),
        pytest.param({"data": {"a.yaml": OTHER}},
                     "configmap/prod: a.yaml:4:1: metadata.name: the policy other is in configmap/b already",
                     id="another ConfigMap's name"),
        pytest.param({"data": {"a.yaml": "#" * (1 << 20) + "\n"}}, "configmap/prod: at most 1048576", id="large"),
        pytest.param({"data": 7}, "data: an object expected, found a number", id="data of another type"),
        pytest.param({"data": {"a.yaml": 5}}, "data['a.yaml']: a string expected", id="a number for text"),
        pytest.param({"metadata": None}, "metadata: an object expected, found null", id="no metadata"),
        pytest.param({"metadata": {"labels": []}}, "", id="labels of another type"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_bad_policy_is_refused(changes: dict[str, Any], message: str, dry_run: bool) -> None:
    cluster = Cluster({"b": OTHER})
    for old in (None, configmap("prod", GOOD)):
        entry, response = await cluster.ask(old, configmap("prod", GOOD) | changes, dryRun=dry_run)
        if not message:  # it is not labelled: no policy any more, or none at all
            assert response["allowed"]
            continue
        assert (response["allowed"], entry.word, entry.status, entry.code) == (False, "deny", 400, "policy_invalid")
        assert (response["status"]["code"], response["status"]["reason"]) == (400, "Invalid")
        assert response["status"]["message"].startswith(message)
        assert response["auditAnnotations"]["reason"] == "policy_invalid"


async def test_all_mistakes_are_told_at_once() -> None:
    _, response = await Cluster().ask(None, configmap("prod", BROKEN))
    lines = response["status"]["message"].splitlines()
    assert [line.split(":")[4] for line in lines] == [" apiVersion", " metadata", " spec"]


async def test_a_long_denial_says_how_many_more_there_are() -> None:
    _, response = await Cluster().ask(None, configmap("prod", "---\n".join([BROKEN] * 40)))
    lines = response["status"]["message"].splitlines()
    assert len(response["status"]["message"].encode()) <= 2048
    assert lines[-1] == f"and {101 - len(lines) + 1} more"


async def test_a_good_policy_is_allowed_and_leaves_who_changed_what() -> None:
    old, new = configmap("prod", WARN), configmap("prod", GOOD)
    entry, response = await Cluster({"prod": WARN}).ask(old, new)
    assert response == {
        "uid": "1",
        "allowed": True,
        "auditAnnotations": {
            "decision": "allow",
            "user": "jane",
            "configmap": "prod",
            "old-revision": parcel.read(old).revision,
            "new-revision": parcel.read(new).revision,
            "policy": "prod",
        },
    }
    assert (entry.word, entry.status) == ("allow", 200)


@pytest.mark.parametrize(
    ("old", "new", "in_force", "warned"),
    [
        pytest.param(configmap("prod", GOOD), None, {"prod": GOOD}, True, id="the last is deleted"),
        pytest.param(configmap("prod", GOOD), unlabelled(), {"prod": GOOD}, True, id="the last loses its label"),
        pytest.param(configmap("prod", GOOD), configmap("prod", WARN), {"prod": GOOD}, True, id="the last only warns"),
        pytest.param(configmap("prod", GOOD), None, {"prod": GOOD, "b": OTHER}, False, id="another enforces"),
        pytest.param(configmap("prod", WARN), None, {"prod": WARN}, False, id="none enforced before"),
        pytest.param(configmap("prod", GOOD), configmap("prod", GOOD + "  help: ask us\n"), {"prod": GOOD}, False,
                     id="it still enforces"),
        pytest.param(configmap("prod", GOOD), configmap("prod", WARN + "  enforceIn: [shop]\n"), {"prod": GOOD}, False,
                     id="it enforces in one namespace"),
    ],
)  # fmt: skip
async def test_a_change_after_which_nothing_is_enforced_is_warned_of(
    old: object, new: object, in_force: dict[str, str], warned: bool
) -> None:
    _, response = await Cluster(in_force).ask(old, new)
    assert response["allowed"]
    assert any("no policy enforces any more" in text for text in response.get("warnings", ())) is warned


@pytest.mark.parametrize(
    ("text", "fails_open", "warned"), [(GOOD, True, True), (GOOD, False, False), (WARN, True, False)]
)
async def test_enforcing_while_the_entry_fails_open_is_warned_of(text: str, fails_open: bool, warned: bool) -> None:
    cluster = Cluster()
    cluster.fails_open = fails_open
    _, response = await cluster.ask(None, configmap("prod", text))
    assert any("failurePolicy: Ignore" in warning for warning in response.get("warnings", ())) is warned


async def test_findings_and_ignored_keys_are_warnings() -> None:
    obj = configmap("prod", policy("prod"))
    obj["data"]["notes.txt"] = "x"
    _, response = await Cluster().ask(None, obj)
    finding, ignored = response["warnings"]
    assert finding.startswith("policy.yaml:6: spec.mode: with tags allowed")
    assert finding.endswith("(tags_allowed)")
    assert ignored == "the key 'notes.txt' is ignored: it does not end in .yaml or .yml"
    _, response = await Cluster(pinning=True).ask(None, configmap("prod", policy("prod")))
    assert "warnings" not in response


@pytest.mark.parametrize(("listed", "warned"), [((), True), (("other",), True), (("release",), False)])
async def test_a_secret_that_may_not_be_read_is_warned_of(listed: tuple[str, ...], warned: bool) -> None:
    text = GOOD.partition("      publicKey")[0] + "      secret:\n        name: release\n"
    _, response = await Cluster(trust_secrets=listed).ask(None, configmap("prod", text))
    assert response["allowed"]
    told = "the webhook may not read the Secret release: list it in the chart's value trustSecrets"
    assert (told in response.get("warnings", ())) is warned


async def test_at_most_five_warnings_are_shown() -> None:
    obj = configmap("prod", GOOD)
    obj["data"] |= {f"key-{number}": "" for number in range(9)}
    _, response = await Cluster().ask(None, obj)
    assert len(response["warnings"]) == 5
    assert response["warnings"][-1] == "5 more findings: countersign policy lint tells them all"


async def test_findings_of_other_policies_are_not_told_again() -> None:
    _, response = await Cluster({"b": policy("b")}).ask(None, configmap("prod", GOOD))
    assert "warnings" not in response


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        pytest.param(by("jane", "system:authenticated"), False, id="nobody"),
        pytest.param(by("sre"), True, id="user"),
        pytest.param(by("jane", "platform"), True, id="group"),
        pytest.param(by("platforms", "sre-team"), False, id="look-alikes"),
        pytest.param(by(OWN), False, id="the webhook itself"),
        pytest.param(by(NAMESPACE_CONTROLLER), False, id="a controller that does not delete"),
        pytest.param({"userInfo": {}}, False, id="no user"),
    ],
)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(None, configmap("prod", GOOD), id="create"),
        pytest.param(configmap("prod", GOOD), configmap("prod", WARN), id="update"),
        pytest.param(configmap("prod", GOOD), unlabelled(), id="unlabel"),
        pytest.param(unlabelled(text=GOOD), configmap("prod", GOOD), id="label"),
        pytest.param(configmap("prod", GOOD), None, id="delete"),
    ],
)
async def test_only_writers_write_policies(old: object, new: object, changes: dict[str, Any], allowed: bool) -> None:
    entry, response = await Cluster({"b": OTHER}, writers=("sre", "platform")).ask(old, new, **changes)
    controller = changes == by(NAMESPACE_CONTROLLER) and new is None
    assert response["allowed"] is (allowed or controller)
    if not response["allowed"]:
        assert (response["status"]["code"], entry.status, entry.code) == (403, 403, "not_a_writer")
        assert "may not write policies of the namespace countersign" in response["status"]["message"]
        assert response["auditAnnotations"]["decision"] == "deny"


@pytest.mark.parametrize(
    ("change", "skipped"),
    [
        pytest.param({"annotations": {parcel.STATUS: "{}"}}, True, id="our status"),
        pytest.param({"labels": {parcel.LABEL: "true", "team": "a"}}, True, id="another label"),
        pytest.param({"labels": {}}, False, id="the label"),
    ],
)
async def test_what_changes_no_policy_passes_unread(change: dict[str, Any], skipped: bool) -> None:
    cluster = Cluster(writers=("sre",))
    entry, response = await cluster.ask(configmap("prod"), configmap("prod", metadata=change), **by(OWN))
    assert (response["allowed"], entry.word == "skip") == (skipped, skipped)
    # A bad text that stands there already does not keep us from saying so
    entry, _ = await cluster.ask(configmap("prod", BROKEN), configmap("prod", BROKEN, metadata=change), **by(OWN))
    assert (entry.word == "skip") is skipped


@pytest.mark.parametrize(
    ("resource", "name", "user", "writers", "allowed"),
    [
        ("configmaps", "last-good", OWN, (), True),
        ("configmaps", "last-good", "jane", (), False),
        ("configmaps", "last-good", "sre", ("sre",), False),
        ("configmaps", "last-good", "", (), False),
        ("configmaps", "roots", "jane", ("sre",), False),
        ("configmaps", "roots", "sre", ("sre",), True),
        ("configmaps", "roots", "jane", (), True),
        ("secrets", "keys", "jane", ("sre",), False),
        ("secrets", "keys", "sre", ("sre",), True),
        ("secrets", "roots", "jane", ("sre",), True),
        ("configmaps", "kube-root-ca.crt", "jane", ("sre",), True),
    ],
)
async def test_what_policies_trust_is_guarded_too(
    resource: str, name: str, user: str, writers: tuple[str, ...], allowed: bool
) -> None:
    changes = {"name": name, "resource": {"group": "", "version": "v1", "resource": resource}, **by(user)}
    for old, new in ((unlabelled(name), unlabelled(name, "x")), (unlabelled(name), None)):
        entry, response = await Cluster(writers=writers).ask(old, new, **changes)
        assert response["allowed"] is allowed
        assert entry.code == (None if allowed else "not_a_writer")


async def test_who_does_not_know_itself_writes_no_last_good() -> None:
    cluster = Cluster()
    cluster.own_user = ""
    _, response = await cluster.ask(unlabelled("last-good"), unlabelled("last-good", "x"), name="last-good", **by(""))
    assert not response["allowed"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"namespace": "shop"}, id="another namespace"),
        pytest.param(
            {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}}, id="another resource"
        ),
        pytest.param({"operation": "CONNECT"}, id="another operation"),
        pytest.param({"subResource": "status"}, id="subresource"),
    ],
)
async def test_what_is_no_policy_is_skipped(changes: dict[str, Any]) -> None:
    entry, response = await Cluster(writers=("sre",)).ask(None, configmap("prod", BROKEN), **changes)
    assert (response["allowed"], entry.word, entry.detail) == (True, "skip", "no policy")


SMALL = policy("p{}", mode="warn", more="  exemptRegistries: [r.io]\n")


async def test_what_no_api_server_stores_is_refused_unread() -> None:
    files = {f"{number}.yaml": "a: 1\n" * 50_000 for number in range(5)}
    entry, response = await Cluster().ask(None, configmap("prod", data=files))
    assert (response["allowed"], entry.code) == (False, "policy_invalid")
    expected = "configmap/prod: at most 1048576 characters of policies expected, found 1250000"
    assert response["status"]["message"] == expected


@pytest.mark.parametrize(
    ("text", "count", "too_large"),
    [
        pytest.param(policy("p{}", more=PINNED), 200, False, id="policies that enforce"),
        pytest.param(policy("p{}", more=PINNED), 500, True, id="more of them"),
        pytest.param(policy("p{}", mode="warn", more=PINNED), 500, False, id="as many that warn"),
        pytest.param(policy("p", more=PINNED + "  rules:\n" + "    - images: [a.io/x]\n" * 600), 1, True, id="rules"),
    ],
)
async def test_findings_are_looked_for_where_that_is_soon_done(text: str, count: int, too_large: bool) -> None:
    """Every pair of patterns is compared, and whoever reaches the port may send thousands."""
    _, response = await Cluster().ask(None, configmap("prod", "---\n".join(text.format(n) for n in range(count))))
    assert response["allowed"]
    told = [text for text in response.get("warnings", ()) if text.startswith("too large to look for findings")]
    assert bool(told) == too_large


async def test_many_small_policies_are_read_in_the_time_of_their_text() -> None:
    started = time.process_time()
    _, response = await Cluster().ask(None, configmap("prod", "---\n".join(SMALL.format(n) for n in range(1500))))
    assert response["allowed"]
    assert time.process_time() - started < 10  # a second; once it was the square of it


async def test_changes_are_read_one_after_another_and_what_changes_none_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policies, "TURN_SECONDS", 0.01)
    cluster, change = Cluster(), configmap("prod", GOOD)
    async with cluster.entry._turn:
        with pytest.raises(UnexaminedError) as caught:
            await cluster.ask(None, change)
        entry, _ = await cluster.ask(change, {**change, "metadata": {**change["metadata"], "annotations": {"a": "b"}}})
    assert (caught.value.code, caught.value.status) == ("overloaded", 503)
    assert entry.word == "skip"
    assert (await cluster.ask(None, change))[0].word == "allow", "the turn was given back"


def test_a_body_that_is_no_review_is_malformed() -> None:
    for body in (b"", b"{}", b"[]", b"\xff"):
        with pytest.raises(MalformedError):
            Cluster().entry.parse(body)
