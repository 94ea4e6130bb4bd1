"""The image registry: which tags there are, and the digest behind a tag (Docker Hub API)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from runbook_lib.clients._http import Http, Reply, bearer
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.clients._vendor import VendorClient
from runbook_lib.errors import SourceAnswerError, SourceEmptyError, SourceError
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.times import parse_rfc3339

_URL = "https://hub.docker.com"
_TAGS = 100


class RegistryClient(VendorClient):
    """Questions to the registry. Settings of the endpoint: ``repository`` (owner/name), ``token``, ``url``."""

    source = "registry"

    def tag(self, tag: str) -> Evidence | Gap:
        """Document ``{tag, found, digest, updated_at, size_bytes, platforms}``; ``found`` False: no such tag."""
        return self._ask("tag", self._fetch_tag, parameters={"tag": tag})

    def tags(self) -> Evidence | Gap:
        """Table ``tag, digest, updated_at, size_bytes`` of the newest hundred tags; times in epoch seconds."""
        return self._ask("tags", self._fetch_tags)

    def _open(self) -> Http:
        return self._http_to(self._setting("url", _URL), bearer(self._secret("token")))

    @property
    def _path(self) -> str:
        repository = self._setting("repository")
        if not repository:
            raise SourceAnswerError("registry.repository is not set in the catalogue", source=self.source)
        return f"/v2/repositories/{quote(repository, safe='/')}/tags"

    def _fetch_tag(self, question: Question) -> Answer:
        name = str(question.parameters["tag"])
        try:
            found = self._http.get(f"{self._path}/{quote(name, safe='')}", explain=_explain).json()
        except SourceEmptyError as error:
            # The repository itself must be there, or a misspelt one would look like a missing tag.
            self._http.get(f"{self._path}/", {"page_size": 1}, explain=_explain)
            return Answer({"tag": name, "found": False, "reason": error.reason})
        images = found.get("images") or ()
        return Answer(
            {
                "tag": found["name"],
                "found": True,
                "digest": _digest(found),
                "updated_at": _epoch(found.get("last_updated")),
                "size_bytes": found.get("full_size"),
                "platforms": sorted({f"{one.get('os', '')}/{one.get('architecture', '')}" for one in images}),
            }
        )

    def _fetch_tags(self, question: Question) -> Answer:
        asked: dict[str, str | int | float] = {"page_size": _TAGS, "ordering": "last_updated"}
        found = self._http.get(f"{self._path}/", asked, explain=_explain).json()
        rows = [
            (str(one["name"]), _digest(one), _epoch(one.get("last_updated")), one.get("full_size"))
            for one in found["results"]
        ]
        left = found.get("count", 0) - len(rows)
        notes = (f"{left} more tags were not read",) if left > 0 else ()
        return Answer(Table(("tag", "digest", "updated_at", "size_bytes"), tuple(rows)), notes)


def _digest(tag: Any) -> str:
    """The digest of a tag; older tags have one for each of their images only."""
    return str(tag.get("digest") or next((one["digest"] for one in tag.get("images") or () if one.get("digest")), ""))


def _epoch(text: str | None) -> float | None:
    return parse_rfc3339(text).timestamp() if text else None


def _explain(reply: Reply) -> SourceError | None:
    return SourceEmptyError("the registry has no such thing", source=reply.source) if reply.status == 404 else None
