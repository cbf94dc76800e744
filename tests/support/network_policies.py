"""Label selectors and NetworkPolicies, as far as deploy/kubernetes uses them: no network here enforces them."""

from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]
OWN_NAMESPACE = {"kubernetes.io/metadata.name": "parley"}


@dataclass(frozen=True)
class Peer:
    """Labels of a pod, and of its namespace."""

    labels: dict[str, str]
    namespace: dict[str, str] = field(default_factory=lambda: OWN_NAMESPACE)


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """A label selector, with the operator that is used here."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(term["key"]) in term["values"]
        for term in selector.get("matchExpressions", ())
        if term["operator"] == "In"
    )


def reaches(policies: list[Manifest], caller: Peer, called: Peer, port: str) -> bool:
    """Whether both sides' policies let a connection through: that of a pod which none selects is free."""
    for kind, peers, own, other in (("Ingress", "from", called, caller), ("Egress", "to", caller, called)):
        chosen = [
            policy["spec"]
            for policy in policies
            if kind in policy["spec"]["policyTypes"] and is_peer({"podSelector": policy["spec"]["podSelector"]}, own)
        ]
        rules = [rule for spec in chosen for rule in spec.get(kind.lower(), ())]
        if chosen and not any(
            port in {given["port"] for given in rule["ports"]}
            and (peers not in rule or any(is_peer(term, other) for term in rule[peers]))
            for rule in rules
        ):
            return False
    return True


def is_peer(term: Manifest, peer: Peer) -> bool:
    """A term of a policy's `from` or `to`: without a namespaceSelector its pods are of the policy's own namespace."""
    if "ipBlock" in term:
        return False
    namespaces = term.get("namespaceSelector", {"matchLabels": OWN_NAMESPACE})
    return matches(namespaces, peer.namespace) and matches(term.get("podSelector", {}), peer.labels)
