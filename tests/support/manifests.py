"""Kubernetes manifests, and what they must not ask for."""

from tests.deployment.values import Tree

KUBERNETES = ("1.31", "1.37")
"""The oldest and the newest release that the manifests are held to."""


def check_restricted(pod: Tree) -> None:
    """Assert the standard "restricted", a read-only root, and bounds on memory."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"]["memory"]
        assert container["resources"]["limits"]["memory"]
