"""Trust policy document (OCI, version 1.0): validation, selection, actions, DN matching."""

from __future__ import annotations

import re
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID as N

from tests.oracle.notation.model import IdentityMismatch, PolicyError

CHECKS = ("integrity", "authenticity", "authenticTimestamp", "expiry", "revocation")
LEVELS = {
    "strict": dict.fromkeys(CHECKS, "enforce"),
    "permissive": {
        "integrity": "enforce",
        "authenticity": "enforce",
        "authenticTimestamp": "log",
        "expiry": "log",
        "revocation": "log",
    },
    "audit": {
        "integrity": "enforce",
        "authenticity": "log",
        "authenticTimestamp": "log",
        "expiry": "log",
        "revocation": "log",
    },
    "skip": dict.fromkeys(CHECKS, "skip"),
}
STORE_TYPES = ("ca", "signingAuthority", "tsa")
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?\Z"
)
_REPO = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*\Z")
_STORE_NAME = re.compile(r"[a-zA-Z0-9_.-]+\Z")


def _err(msg):
    raise PolicyError(msg)


def check_scope(scope: str) -> None:
    dom, sep, repo = scope.partition("/")
    if "*" in scope or not sep or not _DOMAIN.match(dom) or not _REPO.match(repo):
        _err(f"registry scope {scope!r} is not valid")


def actions(sv: dict[str, Any]) -> dict[str, str]:
    level = sv.get("level")
    if not isinstance(level, str) or level not in LEVELS:
        _err(f"invalid level {level!r}")
    if sv.get("verifyTimestamp", "always") not in ("always", "afterCertExpiry", ""):
        _err("invalid verifyTimestamp")
    out, over = dict(LEVELS[level]), sv.get("override") or {}
    if not isinstance(over, dict):
        _err("override must be a map")
    if over and level == "skip":
        _err("skip cannot be customised")
    for k, v in over.items():
        if k not in CHECKS or v not in ("enforce", "log", "skip"):
            _err(f"override {k}={v} not supported")
        if k == "integrity" or (v == "skip" and k != "revocation"):
            _err(f"override {k}={v} not allowed")
        out[k] = v
    return out


def parse_dn(text: str) -> dict[str, str]:
    """RFC 4514 string -> {type: value}; S is ST; C, ST and O are mandatory."""
    if "=#" in text:
        _err("hex encoded values are not supported")
    parts, cur, i, esc = [], [], 0, False
    rdns: list[list[str]] = []
    while i < len(text):
        ch = text[i]
        if ch == "\\":
            if i + 1 >= len(text):
                _err("dangling escape")
            nxt = text[i + 1]
            if nxt in ' "#+,;<=>\\':
                cur.append(("x", nxt))
                i += 2
                continue
            if re.match(r"[0-9A-Fa-f]{2}\Z", text[i + 1 : i + 3]):
                cur.append(("h", int(text[i + 1 : i + 3], 16)))
                i += 3
                continue
            _err("bad escape")
        if ch in ",;":
            rdns.append(cur)
            cur = []
        elif ch == "+":
            _err("multi-valued RDN not supported")
        else:
            cur.append(("c", ch))
        i += 1
    rdns.append(cur)
    out: dict[str, str] = {}
    for r in rdns:
        eq = next((j for j, t in enumerate(r) if t == ("c", "=")), None)
        if eq is None:
            _err("RDN without '='")
        key = "".join(str(t[1]) for t in r[:eq]).strip()
        val = r[eq + 1 :]
        while val and val[0] == ("c", " "):
            val = val[1:]
        while val and val[-1] == ("c", " "):
            val = val[:-1]
        raw = b"".join(bytes([t[1]]) if t[0] == "h" else t[1].encode() for t in val)
        try:
            sval = raw.decode("utf-8")
        except UnicodeDecodeError:
            _err("value is not UTF-8")
        key = "ST" if key == "S" else key
        if not key or out.get(key):
            _err(f"empty or duplicate attribute {key!r}")
        out[key] = sval
    for m in ("C", "ST", "O"):
        if not out.get(m):
            _err(f"mandatory attribute {m} missing")
    return out


_NAMES = {
    N.COUNTRY_NAME: "C",
    N.ORGANIZATION_NAME: "O",
    N.ORGANIZATIONAL_UNIT_NAME: "OU",
    N.COMMON_NAME: "CN",
    N.SERIAL_NUMBER: "SERIALNUMBER",
    N.LOCALITY_NAME: "L",
    N.STATE_OR_PROVINCE_NAME: "ST",
    N.STREET_ADDRESS: "STREET",
    N.POSTAL_CODE: "POSTALCODE",
}


def subject_dn(cert: x509.Certificate) -> dict[str, str]:
    out: dict[str, str] = {}
    for rdn in cert.subject.rdns:
        atts = list(rdn)
        name = _NAMES.get(atts[0].oid)
        if len(atts) != 1 or not name or name in out or not isinstance(atts[0].value, str):
            raise IdentityMismatch("subject has multi-valued, duplicate or unknown attributes", "authenticity")
        out[name] = atts[0].value
    if not all(out.get(m) for m in ("C", "ST", "O")):
        raise IdentityMismatch("subject lacks C, ST or O", "authenticity")
    return out


def dn_subset(a: dict[str, str], b: dict[str, str]) -> bool:
    return all(b.get(k) == v for k, v in a.items())


def validate(doc: Any) -> None:
    if not isinstance(doc, dict) or doc.get("version") != "1.0":
        _err("unsupported trust policy version")
    sts = doc.get("trustPolicies")
    if not isinstance(sts, list) or not sts:
        _err("no trust policy statements")
    names, scopes = set(), set()
    for st in sts:
        if not isinstance(st, dict) or not isinstance(st.get("name"), str) or not st["name"]:
            _err("statement without a name")
        if st["name"] in names:
            _err("duplicate statement name")
        names.add(st["name"])
        sv = st.get("signatureVerification")
        if not isinstance(sv, dict):
            _err("signatureVerification missing")
        actions(sv)
        stores, ids = st.get("trustStores") or [], st.get("trustedIdentities") or []
        if sv["level"] == "skip":
            if stores or ids:
                _err("skip with trust stores or identities")
        else:
            if not stores or not ids:
                _err("trust stores and trusted identities are both required")
            for s in stores:
                t, sep, n = s.partition(":")
                if not sep or t not in STORE_TYPES or not _STORE_NAME.match(n):
                    _err(f"bad trust store {s!r}")
            if "*" in ids and len(ids) > 1:
                _err("wildcard identity with others")
            dns = []
            for ident in ids:
                if ident == "*":
                    continue
                pre, sep, val = ident.partition(":")
                if not ident or not sep:
                    _err(f"bad trusted identity {ident!r}")
                if pre == "x509.subject":
                    dns.append(parse_dn(val) if val else _err("empty x509.subject"))
            for i, a in enumerate(dns):
                if any(i != j and dn_subset(a, b) for j, b in enumerate(dns)):
                    _err("overlapping x509.subject identities")
        sc = st.get("registryScopes") or []
        if not sc:
            _err("zero registry scopes")
        if "*" in sc and sv["level"] == "skip":
            _err("skip cannot have the global scope")
        if "*" in sc and len(sc) > 1:
            _err("wildcard scope with others")
        for s in sc:
            if s != "*":
                check_scope(s)
            if s in scopes:
                _err(f"scope {s!r} in more than one statement")
            scopes.add(s)


def select(doc: dict[str, Any], repository: str) -> dict[str, Any]:
    wild = None
    for st in doc["trustPolicies"]:
        if "*" in st["registryScopes"]:
            wild = st
        elif repository in st["registryScopes"]:
            return st
    if wild is None:
        _err(f"no applicable trust policy for {repository}")
    return wild


def check_x509_identity(ids: list[str], leaf: x509.Certificate) -> None:
    if "*" in ids:
        return
    dns = [parse_dn(i.partition(":")[2]) for i in ids if i.startswith("x509.subject:")]
    if not dns:
        raise IdentityMismatch("no x509.subject identity configured", "authenticity")
    subj = subject_dn(leaf)
    if not any(dn_subset(d, subj) for d in dns):
        raise IdentityMismatch("signing certificate matches no trusted identity", "authenticity")
