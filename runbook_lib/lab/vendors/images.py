"""The image manifests that the registry holds, one for each release of the service.

A manifest is canonical JSON, so that its digest is a function of the tag and equals what a pod reports as imageID.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
REPOSITORY = "acme/api"


@lru_cache
def manifest(tag: str) -> bytes:
    """The manifest's bytes; layers are described, never stored."""
    config = _descriptor("application/vnd.docker.container.image.v1+json", f"{REPOSITORY}:{tag}:config", 7_023)
    base = _descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", "python:3.11-slim", 30_214_881)
    code = _descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", f"{REPOSITORY}:{tag}:code", 184_320)
    value = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [base, code]}
    return json.dumps(value, indent=3).encode()


def digest(tag: str) -> str:
    """``sha256:`` digest of the tag's manifest."""
    return f"sha256:{hashlib.sha256(manifest(tag)).hexdigest()}"


def size_bytes(tag: str) -> int:
    """Compressed size of all layers."""
    return sum(int(layer["size"]) for layer in json.loads(manifest(tag))["layers"])


def _descriptor(media_type: str, content: str, size: int) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "size": size,
        "digest": f"sha256:{hashlib.sha256(content.encode()).hexdigest()}",
    }
