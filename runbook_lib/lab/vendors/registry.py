"""Docker Hub: the Hub API's tag list and the registry's v2 manifests, with anonymous pull tokens as Docker Hub gives.

``GET`` or ``HEAD /v2/...`` without a token is answered 401 with a ``Www-Authenticate`` challenge; the token comes from
``/registry/token`` without any credential.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.lab.vendors import images
from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import VendorError, bearer, rfc3339

TOKEN_SECONDS = 300  # as Docker Hub's tokens


def routes(settings: Settings) -> list[Route]:
    """The registry's routes, to be mounted at ``/registry``."""
    registry = _Registry(settings)
    return [
        Route("/token", registry.token),
        Route("/v2/", registry.ping),
        Route("/v2/repositories/{owner}/{name}/tags/", registry.tags),
        Route("/v2/repositories/{owner}/{name}/tags/{tag}/", registry.tag),
        Route("/v2/repositories/{owner}/{name}/tags/{tag}", registry.tag),
        Route("/v2/{owner}/{name}/tags/list", registry.tag_names),
        Route("/v2/{owner}/{name}/manifests/{reference}", registry.manifest, methods=["GET", "HEAD"]),
    ]


class _Registry:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = datetime.now(UTC)
        self._token = secrets.token_urlsafe(32)

    def _challenge(self, request: Request, repository: str = "") -> None:
        if hmac.compare_digest(bearer(request), self._token):
            return
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        realm = f'Bearer realm="{self._settings.base_url}/registry/token",service="registry.docker.io"{scope}'
        detail = [{"Type": "repository", "Class": "", "Name": repository, "Action": "pull"}] if repository else None
        body = _errors("UNAUTHORIZED", "authentication required", detail)
        raise VendorError(401, body, {"Www-Authenticate": realm, "Docker-Distribution-Api-Version": "registry/2.0"})

    async def token(self, _request: Request) -> Response:
        issued = rfc3339(datetime.now(UTC))
        return JSONResponse(
            {"token": self._token, "access_token": self._token, "expires_in": TOKEN_SECONDS, "issued_at": issued}
        )

    async def ping(self, request: Request) -> Response:
        self._challenge(request)
        return JSONResponse({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    def _hub_tag(self, number: int, tag: str) -> dict[str, Any]:
        pushed = rfc3339(self._started)
        image = {
            "architecture": "amd64",
            "os": "linux",
            "digest": images.digest(tag),
            "size": images.size_bytes(tag),
            "status": "active",
            "last_pushed": pushed,
        }
        return {
            "id": 1000 + number,
            "name": tag,
            "digest": images.digest(tag),
            "full_size": images.size_bytes(tag),
            "images": [image],
            "last_updated": pushed,
            "tag_last_pushed": pushed,
            "tag_status": "active",
            "media_type": images.MANIFEST_TYPE,
            "content_type": "image",
            "v2": True,
        }

    async def tags(self, request: Request) -> Response:
        _known_on_hub(request)
        parameters = request.query_params
        page, size = _whole(parameters.get("page"), 1), min(_whole(parameters.get("page_size"), 10), 100)
        listed = [self._hub_tag(number, tag) for number, tag in enumerate(self._settings.images)]
        listed = [one for one in listed if parameters.get("name", "") in one["name"]]
        base = f"{self._settings.base_url}/registry/v2/repositories/{images.REPOSITORY}/tags/"
        following = f"{base}?page={page + 1}&page_size={size}" if page * size < len(listed) else None
        previous = f"{base}?page={page - 1}&page_size={size}" if page > 1 else None
        results = listed[(page - 1) * size : page * size]
        return JSONResponse({"count": len(listed), "next": following, "previous": previous, "results": results})

    async def tag(self, request: Request) -> Response:
        _known_on_hub(request)
        tag = request.path_params["tag"]
        if tag not in self._settings.images:
            raise VendorError(404, {"message": f"httperror 404: tag '{tag}' not found", "errinfo": {}})
        return JSONResponse(self._hub_tag(self._settings.images.index(tag), tag))

    async def tag_names(self, request: Request) -> Response:
        repository = _repository(request)
        self._challenge(request, repository)
        _known_in_registry(repository)
        return JSONResponse({"name": repository, "tags": sorted(self._settings.images)})

    async def manifest(self, request: Request) -> Response:
        repository = _repository(request)
        self._challenge(request, repository)
        _known_in_registry(repository)
        reference = request.path_params["reference"]
        tag = next((tag for tag in self._settings.images if reference in (tag, images.digest(tag))), None)
        if tag is None:
            detail = f"unknown tag={reference}"
            raise VendorError(404, _errors("MANIFEST_UNKNOWN", "manifest unknown", detail))
        headers = {"Docker-Content-Digest": images.digest(tag), "ETag": f'"{images.digest(tag)}"'}
        return Response(images.manifest(tag), media_type=images.MANIFEST_TYPE, headers=headers)


def _repository(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def _known_on_hub(request: Request) -> None:
    if _repository(request) != images.REPOSITORY:
        raise VendorError(404, {"message": "object not found", "errinfo": {}})


def _known_in_registry(repository: str) -> None:
    if repository != images.REPOSITORY:
        raise VendorError(404, _errors("NAME_UNKNOWN", "repository name not known to registry", {"name": repository}))


def _errors(code: str, message: str, detail: Any) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message, "detail": detail}]}


def _whole(text: str | None, default: int) -> int:
    try:
        return max(1, int(text or default))
    except ValueError:
        raise VendorError(404, {"message": "Invalid page.", "errinfo": {}}) from None
