"""The tour of an installation, from `helm install` to `helm uninstall`: the words of docs/tour.md, and what is typed.

It needs an empty cluster that has the image of Countersign. What it shows is what happens there; what must be so is
checked as it goes, and a tour whose text differs from the document's is no success either (`test_tour`).
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.e2e.install import REGISTRY_AUTHORITY, REPLICAS, STATUS, wait_until
from tests.e2e.signing import Workshop
from tests.e2e.terminal import Terminal

FAILED = 1  # how kubectl ends when it was refused, and scan when something would be denied
SIGNED, UNSIGNED = "registry.test/shop/app:1", "registry.test/shop/unsigned:1"

VALUES = """
image: # as it was built here; leave these out, and the published one is taken
  registry: localhost
  repository: countersign
  tag: test
  pullPolicy: Never
registries: # a registry inside the cluster, with an authority of its own
  - host: registry.test
    private: true
extraCA:
  configMap: registry-ca
shutdownDelaySeconds: 3 # instead of 15: a cluster of one node soon hears of a replica that leaves
"""

POLICY = """
apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata:
  name: production
spec:
  mode: warn
  enforceIn: [shop]
  help: "ask in #platform"
  trustedKeys:
    - name: release
      publicKey: |
{key}
"""

VOLUME = """
apiVersion: v1
kind: Pod
metadata:
  name: reader
spec:
  containers:
    - name: reader
      image: registry.test/shop/app:1
  volumes:
    - name: data
      image:
        reference: registry.test/shop/unsigned:1
"""


class Tour:
    """Whoever takes it, in a terminal on `cluster`; files lie in `directory`, which the node sees."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self._terminal = Terminal(cluster, directory)
        self._workshop = Workshop(cluster, directory)

    def take(self) -> str:
        """The document that was written on the way. Raises: AssertionError, TimeoutError."""
        self._introduce()
        self._install()
        self._look_before()
        self._write_the_policy()
        self._enforce_in_one_namespace()
        self._close_the_door()
        self._deny_every_way()
        self._pin()
        self._go_back()
        self._uninstall()
        return self._terminal.document

    def _introduce(self) -> None:
        release = self._workshop.key("release")
        self._workshop.sign_bundle(self._workshop.image("shop/app", text="hello from a signed image"), release)
        self._workshop.image("shop/unsigned")
        indented = "\n".join(f"        {line}" for line in release.pem.strip().splitlines())
        self._policy = POLICY.format(key=indented)
        self._terminal.say("""
# A tour: from `helm install` to `helm uninstall`

This is a terminal on a real cluster, from the first command to the last. Nothing was edited: `make tour` types it all
and writes this document, and a test checks that it would be written the same today. Lines that begin with `$` were
typed.

The registry `registry.test` has two images: `shop/app:1`, which was signed with cosign and the key `release`, and
`shop/unsigned:1`, which was not. How to sign is in [keys.md](keys.md), what else may sign in [policy.md](policy.md).
""")
        self._terminal.type("kubectl version", "helm version --short")

    def _install(self) -> None:
        authority = self._cluster.node.root / REGISTRY_AUTHORITY
        terminal = self._terminal
        terminal.say("""
## Install

Every value of the chart has a default. Here the image was built a minute ago, and the registry is a private one:
""")
        terminal.file("values.yaml", VALUES.lstrip())
        self._cluster.kubectl("create", "namespace", "countersign")
        self._cluster.kubectl(
            "create", "configmap", "registry-ca", "--namespace=countersign", f"--from-file=ca.crt={authority}"
        )
        said = terminal.type(
            "helm install countersign charts/countersign -n countersign --create-namespace -f values.yaml --wait"
        )
        assert "admitted (failurePolicy Ignore)" in said
        said = terminal.type(
            "kubectl get pods -n countersign", "kubectl get configmap -n countersign -l countersign.dev/policy"
        )
        assert "countersign-policies" in said
        terminal.say("Does it work? A review is sent to each entry of the webhook, as the API server sends it:")
        assert "Succeeded" in terminal.type("helm test countersign -n countersign --hide-notes")

    def _look_before(self) -> None:
        terminal = self._terminal
        terminal.say("""
## What a fresh install does

It denies nothing. The starter policy warns, and where Countersign does not answer, pods are admitted:
""")
        terminal.type("kubectl create namespace shop")
        self._cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace=shop", "--timeout=240s")
        said = terminal.type(f"kubectl run early -n shop --image={UNSIGNED} -- sleep 600")
        assert "Warning: " in said
        assert "pod/early created" in said
        terminal.say("""
## What would be denied

This policy trusts one key. It warns everywhere, and enforces in one namespace:
""")
        terminal.file("production.yaml", self._policy.lstrip())
        terminal.say("`countersign scan` holds it against what runs, as if it were enforced:")
        scan = "countersign scan --policy production.yaml --namespace shop --private-registry registry.test"
        terminal.type(scan, status=FAILED)

    def _write_the_policy(self) -> None:
        terminal = self._terminal
        terminal.say("## The policy\n\nA policy is a ConfigMap with a label. One with a mistake is refused at once:")
        said = terminal.type(
            "kubectl create configmap production -n countersign --from-file=production.yaml --dry-run=client -o yaml"
            " | kubectl label --local -f - countersign.dev/policy=true -o yaml > policy.yaml",
            "sed 's/trustedKeys/trustedkeys/; s/mode: warn/mode: wran/' policy.yaml | kubectl apply -f -",
            status=FAILED,
        )
        assert "spec.trustedkeys: unknown field" in said
        terminal.say("Without it, it is taken, and a second later all replicas go by it. Its status says so:")
        terminal.type("kubectl apply -f policy.yaml")
        self._until('"inForce":"this"', "kubectl", "get", "configmap/production", "-n=countersign", "-o=yaml")
        terminal.type(
            f"kubectl get configmap production -n countersign -o jsonpath='{{.metadata.annotations.{STATUS}}}'"
        )

    def _enforce_in_one_namespace(self) -> None:
        terminal = self._terminal
        terminal.say("""
## In the namespace that enforces

What was signed runs:
""")
        terminal.type(f"kubectl run hello -n shop --image={SIGNED} --restart=Never")
        self._until("hello", "kubectl", "logs", "hello", "-n=shop")
        assert terminal.type("kubectl logs hello -n shop") == "hello from a signed image\n"
        terminal.say("What was not is denied, and whoever wanted it is told why:")
        said = terminal.type(f"kubectl run bad -n shop --image={UNSIGNED}", status=FAILED)
        assert "no_signature" in said
        terminal.say("So is whoever looks later, in an Event:")
        self._until("ImageVerificationFailed", "kubectl", "get", "events", "-n=shop")
        terminal.type("kubectl get events -n shop --field-selector reason=ImageVerificationFailed")
        terminal.say("""
A Deployment is accepted, since a signature may still come before its pods do. The warning says what will become of
them, and the Event stands where people look, on the ReplicaSet:
""")
        said = terminal.type(f"kubectl create deployment bad -n shop --image={UNSIGNED}")
        assert "Warning: " in said
        events = (
            "kubectl get events -n shop --field-selector involvedObject.kind=ReplicaSet,reason=ImageVerificationFailed"
        )
        self._until("replicaset/bad", *events.split())
        terminal.type(events, "kubectl delete deployment bad -n shop")

    def _close_the_door(self) -> None:
        terminal = self._terminal
        terminal.say("""
## Closing the door

Now the policy enforces everywhere, an image that no policy speaks of is denied, workloads are denied early, and where
Countersign does not answer, no pod starts:
""")
        terminal.type("sed '/enforceIn/d; s/mode: warn/mode: enforce/' policy.yaml | kubectl apply -f -")
        said = terminal.type(
            "helm upgrade countersign charts/countersign -n countersign --reuse-values --wait"
            " --set failurePolicy=Fail --set noMatch=deny --set workloads.action=deny"
            " | sed -n '/What it does/,/^$/p'"
        )
        assert "refused (failurePolicy Fail)" in said
        self._until_old_replicas_are_gone()

    def _deny_every_way(self) -> None:
        terminal = self._terminal
        terminal.say("## Every way in\n\nA Deployment and a CronJob are denied before they have pods:")
        for command in (
            f"kubectl create deployment bad -n shop --image={UNSIGNED}",
            f"kubectl create cronjob nightly -n shop --image={UNSIGNED} --schedule='0 3 * * *'",
        ):
            assert "no_signature" in terminal.type(command, status=FAILED)
        terminal.say("So is a container that is put into a running pod:")
        terminal.type(f"kubectl run host -n shop --image={SIGNED} -- sleep 600")
        debug = f"kubectl debug host -n shop --image={UNSIGNED} --container=debugger"
        assert "spec.ephemeralContainers[0]" in terminal.type(debug, status=FAILED)
        terminal.say("And an image that is mounted as a volume:")
        terminal.file("volume.yaml", VOLUME.lstrip())
        assert "spec.volumes[0].image" in terminal.type("kubectl apply -n shop -f volume.yaml", status=FAILED)
        terminal.say("What is signed rolls out:")
        terminal.type(
            f"kubectl create deployment app -n shop --image={SIGNED} -- sleep 600",
            "kubectl wait --for=condition=Available deployment/app -n shop",
        )
        terminal.say("Whoever would take the last policy away that enforces is warned:")
        said = terminal.type("kubectl delete configmap production -n countersign --dry-run=server")
        assert "Warning: " in said

    def _pin(self) -> None:
        terminal = self._terminal
        terminal.say("""
## What was verified is what runs

A tag can be moved between the look at it and the pull. With pinning on, pods name the digest that was judged:
""")
        terminal.type(
            "helm upgrade countersign charts/countersign -n countersign --reuse-values --wait --set pin.enabled=true"
            " | grep digests",
        )
        self._until_old_replicas_are_gone()
        said = terminal.type(
            f"kubectl run pinned -n shop --image={SIGNED} --restart=Never",
            "kubectl get pod pinned -n shop -o jsonpath='{.spec.containers[0].image}'",
        )
        assert said.startswith(f"{SIGNED}@sha256:")
        self._until("hello", "kubectl", "logs", "pinned", "-n=shop")
        ran = terminal.type("kubectl get pod pinned -n shop -o jsonpath='{.status.containerStatuses[0].imageID}'")
        assert ran.partition("@")[2] == said.partition("@")[2]

    def _go_back(self) -> None:
        terminal = self._terminal
        terminal.say("## Going back\n\nAn upgrade that turns out to be unwanted is undone:")
        terminal.type(
            "helm rollback countersign 2 -n countersign --wait",
            "helm history countersign -n countersign",
            "kubectl get validatingwebhookconfiguration,mutatingwebhookconfiguration",
        )
        self._until_old_replicas_are_gone()

    def _uninstall(self) -> None:
        terminal = self._terminal
        terminal.say("## Leaving\n\nFirst the API server stops asking, then all else goes:")
        terminal.type("helm uninstall countersign -n countersign --wait")
        self._cluster.kubectl("wait", "--for=delete", "pod", REPLICAS, "--namespace=countersign", "--timeout=240s")
        labelled = "-l app.kubernetes.io/instance=countersign -A"
        said = terminal.type(
            "kubectl get validatingwebhookconfiguration,mutatingwebhookconfiguration,validatingadmissionpolicy,"
            "validatingadmissionpolicybinding,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,"
            f"configmap,secret,lease,service,deployment,job,pod,pdb {labelled}",
        )
        assert said == "No resources found\n"
        terminal.say("What you applied yourself stays, until `kubectl delete namespace countersign`:")
        terminal.type(
            "kubectl get configmap -n countersign -l countersign.dev/policy",
            f"kubectl run late -n shop --image={UNSIGNED}",
        )

    def _until_old_replicas_are_gone(self) -> None:
        """A replica that is about to end still answers for some seconds, as it was installed."""
        pods = ("kubectl", "get", "pods", REPLICAS, "-n=countersign", "--output=name")
        wait_until(lambda: len(self._cluster.run(*pods).stdout.split()) == 2, "there are two replicas")

    def _until(self, wanted: str, *command: str) -> None:
        """What takes a moment has happened."""
        wait_until(lambda: wanted in self._cluster.run(*command, check=False).stdout, f"{wanted!r} of {command}")
