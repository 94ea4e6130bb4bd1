"""The HTTP face of the API: authentication, access, routing, and answers in the form the client asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from runbook_lib.lab.controlplane import bodies, discovery, proxy, requests, status, subresources, tables, writes
from runbook_lib.lab.controlplane.access import ANONYMOUS, Attributes, Authorizer, User
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.lists import Lists
from runbook_lib.lab.controlplane.requests import Accept, Target, is_true
from runbook_lib.lab.controlplane.resources import APPLY_TYPE, Resources
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object
from runbook_lib.lab.controlplane.watches import Watch

logger = logging.getLogger(__name__)
NOT_ACCEPTABLE = (
    "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, "
    "application/vnd.kubernetes.protobuf"
)


class Server:
    """ASGI application.

    Args:
        resources: the objects.
        tokens: users by bearer token.
        audit: gets one event, as a line of the API server's audit log, for each request that asks for a change.
    """

    def __init__(
        self, resources: Resources, tokens: dict[str, User], audit: Callable[[str], object] = lambda _: None
    ) -> None:
        self.resources, self.tokens, self.audit = resources, tokens, audit
        self.authorizer = Authorizer(resources.store)
        self.lists = Lists(resources.store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ApiError as error:
            response = _json(error.body(), error.code)
        except ClientDisconnect:
            return
        except Exception:
            # A defect of this server; the client learns no more than that, and the log has the rest.
            logger.exception("%s %s", request.method, request.url.path)
            defect = ApiError(500, "InternalError", "Internal error occurred: see the server's log", {})
            response = _json(defect.body(), 500)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        user = self._authenticate(request)
        path = request.url.path
        target = requests.parse_path(path)
        if target is None:
            self._authorize(
                user, Attributes(requests.METHOD_VERBS.get(request.method, "").replace("create", "post"), path=path)
            )
            return self._other(request, path)
        query = dict(request.query_params)
        verb = requests.verb_of(request.method, target, query)
        self._authorize(user, requests.attributes(verb, target))
        urls = proxy.aggregated(self.resources)
        if (target.group, target.version) in urls:
            url = urls[target.group, target.version]
            code, media, body = await proxy.forward(
                url, path, request.url.query, {"accept": request.headers.get("accept", "*/*")}
            )
            return Response(body, code, media_type=media)
        kind = target.kind
        if kind is None and target.version in discovery.group_versions().get(target.group, []):
            raise ApiError(404, "NotFound", "the server could not find the requested resource", {})
        if kind is None:
            return PlainTextResponse("404 page not found\n", 404)
        if request.method in ("GET", "HEAD"):
            response = await self._read(request, kind, target, verb, query)
        else:
            response = self._write(request, kind, target, verb, query, await request.body(), user)
            self.audit(_event(request, verb, user, response.status_code))
        if kind.key in DEPRECATED:
            _warn(response, DEPRECATED[kind.key])
        return response

    def _authenticate(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return ANONYMOUS
        user = self.tokens.get(token.strip())
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return user

    def _authorize(self, user: User, wanted: Attributes) -> None:
        if self.authorizer.allows(user, wanted) is not None:
            return
        if wanted.path:
            why = f'User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
            raise ApiError(403, "Forbidden", f"forbidden: {why}", {})
        scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
        what = f'resource "{wanted.full_resource}" in API group "{wanted.group}"'
        why = f'User "{user.name}" cannot {wanted.verb} {what} {scope}'
        raise status.forbidden(wanted.group, wanted.resource, wanted.name, why)

    # Paths without objects

    def _other(self, request: Request, path: str) -> Response:
        accept = requests.parse_accept(request.headers.get("accept", ""))
        parts = path.strip("/").split("/")
        match parts:
            case ["version"]:
                return _json(discovery.VERSION)
            case ["readyz" | "livez" | "healthz", *_]:
                return PlainTextResponse("ok")
            case ["openapi", "v3"]:
                return _json(discovery.openapi_index())
            case ["openapi", "v3", "api", "v1"]:
                return _json(discovery.openapi_document("", "v1"))
            case ["openapi", "v3", "apis", group, version] if version in discovery.group_versions().get(group, []):
                return _json(discovery.openapi_document(group, version))
            case ["api" | "apis", *_]:
                return self._discover(parts, accept, request.url.netloc)
        return PlainTextResponse("404 page not found\n", 404)

    def _discover(self, parts: list[str], accept: Accept, address: str) -> Response:
        aggregated = list(proxy.aggregated(self.resources))
        groups = discovery.group_versions()
        match parts:
            case ["api"] if accept.shape == "APIGroupDiscoveryList":
                return _discovery(discovery.aggregated_discovery([""], []))
            case ["api"]:
                return _json(discovery.core_versions(address))
            case ["apis"] if accept.shape == "APIGroupDiscoveryList":
                return _discovery(discovery.aggregated_discovery(filter(None, groups), aggregated))
            case ["apis"]:
                return _json(discovery.group_list(aggregated))
            case ["api", "v1"]:
                return _json(discovery.resource_list("", "v1"))
            case ["apis", group] if group in groups or group in dict(aggregated):
                versions = groups.get(group) or [dict(aggregated)[group]]
                return _json({"kind": "APIGroup", "apiVersion": "v1", **discovery.group(group, versions)})
            case ["apis", group, version] if version in groups.get(group, []):
                return _json(discovery.resource_list(group, version))
            case ["apis", group, version] if (group, version) in aggregated:
                return _json(discovery.metrics_resource_list())
        return PlainTextResponse("404 page not found\n", 404)

    # Reads

    async def _read(self, request: Request, kind: Kind, target: Target, verb: str, query: dict[str, str]) -> Response:
        accept = requests.parse_accept(request.headers.get("accept", ""))
        if target.subresource == "log":
            return await self._log(target, query)
        if not accept.readable:
            raise ApiError(406, "NotAcceptable", NOT_ACCEPTABLE, {})
        if verb not in kind.verbs:
            raise status.method_not_allowed()
        if verb == "watch":
            if target.name:
                query["fieldSelector"] = f"metadata.name={target.name}"
            watch = Watch(self.resources.store, kind, target.namespace, query, accept.shape)
            return StreamingResponse(watch.lines(), media_type="application/json")
        if verb == "list":
            items, metadata = self.lists.read(kind, target.namespace, query)
            return _json(_listed(kind, items, metadata, accept, query))
        item = self._one(kind, target)
        return _json(_shaped(kind, item, accept, query))

    def _one(self, kind: Kind, target: Target) -> Object:
        if target.subresource and target.subresource not in kind.subresources:
            raise ApiError(404, "NotFound", "the server could not find the requested resource", {})
        item = self.resources.get(kind, target.namespace, target.name)
        if target.subresource == "scale":
            return subresources.scale_of(item)
        if target.subresource not in ("", "status"):
            raise status.method_not_allowed()
        return item

    async def _log(self, target: Target, query: dict[str, str]) -> Response:
        scheme, host, port, path = proxy.log_source(self.resources, target, query)
        stream = proxy.logs(scheme, host, port, path, follow=is_true(query.get("follow", "")))
        try:
            first = await anext(stream)
        except StopAsyncIteration:
            return PlainTextResponse("")

        async def chunks() -> Any:
            yield first
            async for chunk in stream:
                yield chunk

        return StreamingResponse(chunks(), media_type="text/plain")

    # Writes

    def _write(
        self, request: Request, kind: Kind, target: Target, verb: str, query: dict[str, str], body: bytes, user: User
    ) -> Response:
        content_type = request.headers.get("content-type", "")
        apply = bodies.media_type(content_type) == APPLY_TYPE
        if target.subresource and target.subresource not in kind.subresources:
            return PlainTextResponse("404 page not found\n", 404)
        if request.method == "DELETE":
            return self._delete(kind, target, verb, query, body, content_type)
        write = writes.write_options(request.method, query, request.headers.get("user-agent", ""), apply=apply)
        code = 200
        if request.method == "POST":
            item, code = self._create(kind, target, body, content_type, write, user), 201
        elif not target.name:
            raise status.method_not_allowed()
        elif request.method == "PATCH":
            if target.subresource == "scale":
                item = subresources.patch_scale(self.resources, kind, target, body, content_type, write)
            else:
                item, created = writes.patch(self.resources, kind, target, body, content_type, write)
                code = 201 if created else 200
        elif target.subresource == "scale":
            document = bodies.read_object(body, content_type, subresources.SCALE)
            item = subresources.put_scale(self.resources, kind, target, document, write)
        else:
            document = bodies.read_object(body, content_type, kind)
            item = self.resources.update(kind, target.namespace, target.name, document, write, target.subresource)
        accept = requests.parse_accept(request.headers.get("accept", ""))
        if item.get("kind") != "Status" and target.subresource != "scale":
            item = _shaped(kind, item, accept, query)
        return _json(item, code, write.warnings)

    def _create(self, kind: Kind, target: Target, body: bytes, content_type: str, write: Any, user: User) -> Object:
        match target.subresource:
            case "":
                document = bodies.read_object(body, content_type, kind)
                if kind.verbs == ("create",):
                    answer = subresources.review(self.authorizer, kind, document, user)
                    return self.resources.track_answer(kind, target.namespace, answer, write)
                if target.name:
                    raise status.method_not_allowed()
                namespace = target.namespace
                if kind.namespaced and not namespace:
                    raise status.method_not_allowed()
                return self.resources.create(kind, namespace, document, write)
            case "eviction":
                document = bodies.read_object(body, content_type, subresources.EVICTION)
                return subresources.evict(self.resources, target, kind, document)
            case "binding":
                document = bodies.read_object(body, content_type, subresources.BINDING)
                return subresources.bind(self.resources, target, kind, document, write)
            case "token":
                document = bodies.read_object(body, content_type, subresources.TOKEN_REQUEST)
                return subresources.issue_token(self.resources, target, kind, document, self.tokens)
        raise status.method_not_allowed()

    def _delete(
        self, kind: Kind, target: Target, verb: str, query: dict[str, str], body: bytes, content_type: str
    ) -> Response:
        options = bodies.read_delete_options(body, content_type, query)
        writes.check_dry_run(options, query)
        if verb == "deletecollection":
            if verb not in kind.verbs:
                raise status.method_not_allowed()
            return _json(writes.delete_collection(self.resources, kind, target, query, options))
        dry_run = bool(options.get("dryRun") or query.get("dryRun"))
        item, gone = self.resources.delete(kind, target.namespace, target.name, options, dry_run=dry_run)
        if gone and kind.resource not in RETURNED_WHEN_DELETED:
            details: Object = {"name": target.name} | ({"group": kind.group} if kind.group else {})
            details |= {"kind": kind.resource, "uid": item["metadata"]["uid"]}
            return _json(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            )
        return _json(item)


DEPRECATED = {"/endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
RETURNED_WHEN_DELETED = ("pods", "services", "serviceaccounts", "resourcequotas")


def _shaped(kind: Kind, item: Object, accept: Accept, query: dict[str, str]) -> Object:
    if accept.shape == "Table" and item.get("kind") == kind.kind:
        version = {"resourceVersion": item["metadata"].get("resourceVersion", "")}
        return tables.table(kind, [item], version, query.get("includeObject", ""))
    if accept.shape == "PartialObjectMetadata":
        return tables.partial(item)
    return item


def _listed(kind: Kind, items: list[Object] | None, metadata: Object, accept: Accept, query: dict[str, str]) -> Object:
    if accept.shape == "Table":
        return tables.table(kind, items or [], metadata, query.get("includeObject", ""))
    if accept.shape == "PartialObjectMetadataList":
        rows = None if items is None else [tables.partial(item) for item in items]
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": rows,
        }
    rows = None
    if items is not None:
        rows = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": rows}


def _event(request: Request, verb: str, user: User, code: int) -> str:
    """A line of an audit log at level Metadata; https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/."""
    path, query = request.url.path, request.url.query
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "requestURI": f"{path}?{query}" if query else path,
        "verb": verb,
        "user": {"username": user.name, "groups": list(user.groups)},
        "userAgent": request.headers.get("user-agent", ""),
        "responseStatus": {"code": code},
    }
    return json.dumps(event)


def _json(body: Any, code: int = 200, warnings: list[str] | None = None) -> Response:
    response = Response(
        json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(), code, media_type="application/json"
    )
    response.headers["cache-control"] = "no-cache, private"
    for text in warnings or []:
        _warn(response, text)
    return response


def _warn(response: Response, text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    response.headers.append("warning", f'299 - "{quoted}"')


def _discovery(body: Object) -> Response:
    media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    return Response(json.dumps(body, separators=(",", ":")).encode(), media_type=media)
