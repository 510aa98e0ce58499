"""The verification algorithm of one signature under one trust policy statement."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable

from cryptography import x509

from tests.oracle.notation import awssigner
from tests.oracle.notation import policy as pol
from tests.oracle.notation import tsa
from tests.oracle.notation.envelope import parse_and_check_integrity
from tests.oracle.notation.model import *

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?\Z",
    re.ASCII,
)


def semver_key(v: str):
    m = _SEMVER.match(v)
    if not m:
        raise PluginRequired(f"{v!r} is not SemVer")
    pre = m[4]
    ids = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")) if pre else ()
    return (int(m[1]), int(m[2]), int(m[3]), 0 if pre else 1, ids)


@dataclass
class Plugin:
    """A natively implemented verification plugin: name, version it stands for, what it covers."""

    name: str
    version: str
    processed: frozenset[str]
    precheck: Callable[[Envelope, list[str]], None] | None = None  # always enforced
    identity: Callable[[Envelope, list[str]], None] | None = None
    revocation: Callable[[Envelope], None] | None = None


@dataclass
class Outcome:
    ok: bool
    results: list[tuple[str, str, str | None]] = field(default_factory=list)  # check, action, error code
    error: NotationError | None = None
    envelope: Envelope | None = None


@dataclass
class Context:
    stores: dict[str, list[x509.Certificate]]  # "ca:name" -> certificates
    plugins: dict[str, Plugin] = field(default_factory=dict)
    now: datetime | None = None
    revocation: Callable[[list[x509.Certificate], str, datetime | None], None] | None = None


def _enforce(out: Outcome, acts: dict[str, str], check: str, fn: Callable[[], Any]) -> None:
    if acts[check] == "skip":
        return
    try:
        fn()
        out.results.append((check, acts[check], None))
    except NotationError as e:
        e.check = e.check or check
        out.results.append((check, acts[check], e.code))
        if acts[check] == "enforce":
            raise


def verify(
    raw: bytes,
    media_type: str,
    subject: dict[str, Any],
    statement: dict[str, Any],
    ctx: Context,
    user_metadata: dict[str, str] | None = None,
) -> Outcome:
    sv = statement["signatureVerification"]
    acts = pol.actions(sv)
    out = Outcome(ok=False)
    if sv["level"] == "skip":
        out.ok = True
        return out
    now = ctx.now or datetime.now(timezone.utc)
    try:
        holder: list[Envelope] = []
        _enforce(out, acts, "integrity", lambda: holder.append(parse_and_check_integrity(raw, media_type)))
        env = out.envelope = holder[0]

        # the signed descriptor must be the artifact in hand (always enforced)
        if any(env.target.get(k) != subject.get(k) for k in ("digest", "size", "mediaType")):
            raise SubjectMismatch("signed descriptor is not the artifact under verification")

        plugin = _plugin(env, ctx)
        ids, stores = statement["trustedIdentities"], statement["trustStores"]
        if plugin and plugin.precheck:
            plugin.precheck(env, ids)
        want = "ca" if env.scheme == X509 else "signingAuthority"

        def authenticity():
            roots = [c for s in dict.fromkeys(stores) if s.split(":")[0] == want for c in _store(ctx, s)]
            if not roots:
                raise NotTrusted(f"no trusted certificate of type {want}")
            if not any(c in roots for c in env.chain):
                raise NotTrusted("chain holds no trusted certificate")
            if plugin and plugin.identity:
                plugin.identity(env, ids)
            else:
                pol.check_x509_identity(ids, env.chain[0])

        _enforce(out, acts, "authenticity", authenticity)

        def expiry():
            if env.expiry is not None and now >= env.expiry:
                raise Expired(f"expired at {env.expiry.isoformat()}")

        _enforce(out, acts, "expiry", expiry)
        _enforce(out, acts, "authenticTimestamp", lambda: _timestamp(env, sv, stores, ctx, now))

        def revocation():
            if plugin and plugin.revocation:
                plugin.revocation(env)
            elif ctx.revocation:
                ctx.revocation(env.chain, "codesigning", env.signing_time if env.scheme == SA else None)

        _enforce(out, acts, "revocation", revocation)

        for k, v in (user_metadata or {}).items():
            if (env.target.get("annotations") or {}).get(k) != v:
                raise SubjectMismatch(f"required metadata {k} not in the signature")
        out.ok = True
    except NotationError as e:
        out.error = e
    return out


def _store(ctx: Context, name: str) -> list[x509.Certificate]:
    if name not in ctx.stores:
        raise NotTrusted(f"trust store {name} does not exist")
    return ctx.stores[name]


def _plugin(env: Envelope, ctx: Context) -> Plugin | None:
    name = env.extended.get(H_PLUGIN)
    plugin = None
    if H_PLUGIN in env.extended:
        if not isinstance(name, str) or not name.strip() or H_PLUGIN not in env.crit:
            raise PluginRequired("verificationPlugin must be a critical non-empty string")
        plugin = ctx.plugins.get(name)
        if plugin is None:
            raise PluginRequired(f"verification plugin {name!r} is not supported")
        if H_PLUGIN_MIN in env.extended:
            mv = env.extended[H_PLUGIN_MIN]
            if not isinstance(mv, str) or H_PLUGIN_MIN not in env.crit:
                raise PluginRequired("verificationPluginMinVersion must be a critical string")
            if semver_key(plugin.version) < semver_key(mv):
                raise PluginRequired(f"signature needs plugin version >= {mv}")
    done = plugin.processed if plugin else frozenset()
    for k in env.crit:
        if k in env.extended and k not in (H_PLUGIN, H_PLUGIN_MIN) and k not in done:
            raise CriticalAttribute(f"critical attribute {k!r} is not understood")
    if H_PLUGIN_MIN in env.extended and plugin is None:
        raise PluginRequired("minimum version without a plugin name")
    return plugin


def _timestamp(env: Envelope, sv, stores, ctx: Context, now: datetime) -> None:
    if env.scheme == SA:
        bad = [c for c in env.chain if not c.not_valid_before_utc <= env.signing_time <= c.not_valid_after_utc]
        if bad:
            raise TimestampInvalid("authentic signing time outside the chain's validity")
        return
    tsa_stores = [s for s in dict.fromkeys(stores) if s.split(":")[0] == "tsa"]
    use = bool(tsa_stores)
    if use and sv.get("verifyTimestamp") == "afterCertExpiry":
        use = any(now > c.not_valid_after_utc for c in env.chain)
    if not use:
        if any(not c.not_valid_before_utc <= now <= c.not_valid_after_utc for c in env.chain):
            raise TimestampInvalid("chain not valid now and no timestamp verification configured")
        return
    if not env.timestamp_token:
        raise TimestampInvalid("no timestamp countersignature")
    roots = []
    for s in tsa_stores:
        if s not in ctx.stores:
            raise TimestampInvalid(f"trust store {s} does not exist")
        roots += ctx.stores[s]
    ts = tsa.verify_token(env.timestamp_token, env.signature, roots)
    if any(ts.lower < c.not_valid_before_utc or ts.upper > c.not_valid_after_utc for c in env.chain):
        raise TimestampInvalid("timestamp outside the chain's validity")
    if ctx.revocation:
        try:
            ctx.revocation(ts.chain, "timestamping", None)
        except NotationError as e:
            raise TimestampInvalid(f"TSA revocation: {e}") from e


def aws_plugin(client) -> Plugin:
    return Plugin(
        AWS_PLUGIN,
        "1.0.350",
        frozenset({AWS_JOB, AWS_PROFILE}),
        awssigner.precheck,
        awssigner.check_identity,
        lambda env: awssigner.check_revocation(env, client),
    )
