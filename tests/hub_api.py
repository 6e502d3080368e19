"""The answers of the Hub on loopback: models only, in the client's protocol."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub_store import Commit, File, Refusal, Repository, Store, User, apply, is_large, weights_start

CHUNK = 2**16
TOKEN_SECONDS = 3600  # how long the tokens of Xet storage hold


def make_api(store: Store, port: int) -> Starlette:
    """`port` is where large files are served from, under another host name."""
    return Starlette(routes=_routes(Api(store, port)), exception_handlers={Refusal: _refuse})


async def _refuse(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
    return JSONResponse({"error": refusal.message}, refusal.status, headers)


class Api:
    """The answers, one method for each address."""

    def __init__(self, store: Store, port: int) -> None:
        self.store = store
        self.storage = f"http://localhost:{port}/_storage"

    def user(self, request: Request) -> User | None:
        header = request.headers.get("authorization")
        if header is None:
            return None
        user = self.store.users.get(header.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def repository(self, request: Request) -> Repository:
        name = "{ns}/{name}".format(**request.path_params)
        return self.store.find(name.removesuffix(".git"), self.user(request))

    def writable(self, request: Request) -> Repository:
        repository, user = self.repository(request), self.user(request)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if not user.may_write_to(repository.namespace):
            raise Refusal(403, "You don't have the required permissions to perform this action.")
        return repository

    def readable(self, request: Request) -> Repository:
        """One whose files may be read."""
        repository, user = self.repository(request), self.user(request)
        if not repository.may_read_files(user):
            raise Refusal(403 if user else 401, f"Access to model {repository.name} is restricted.", "GatedRepo")
        return repository

    async def whoami(self, request: Request) -> Response:
        user = self.user(request)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        organisations = [{"name": name, "type": "org", "roleInOrg": "write"} for name in user.organisations]
        token = {"displayName": "test", "role": user.role}
        value = {"type": "user", "name": user.name, "fullname": user.name, "orgs": organisations}
        return JSONResponse({**value, "auth": {"type": "access_token", "accessToken": token}})

    async def search(self, request: Request) -> Response:
        text, user = request.query_params.get("search", ""), self.user(request)
        limit = int(request.query_params.get("limit", "100"))
        found = [held for held in self.store.repositories.values() if text in held.name and held.may_read(user)]
        if request.query_params.get("sort") == "downloads":
            found.sort(key=lambda held: -held.downloads)
        return JSONResponse([self._info(held, held.head) for held in found[:limit]])

    async def info(self, request: Request) -> Response:
        repository = self.repository(request)
        commit = repository.at(request.path_params.get("revision", "main"))
        return JSONResponse(self._info(repository, commit))

    def _info(self, repository: Repository, commit: Commit) -> Mapping[str, object]:
        return {
            "id": repository.name,
            "modelId": repository.name,
            "sha": commit.oid,
            "private": repository.private,
            "gated": "manual" if repository.gated else False,
            "disabled": repository.disabled,
            "tags": [],
            "downloads": repository.downloads,
            "likes": 0,
            "cardData": self.store.card(commit),
            "siblings": [{"rfilename": name, **_blob(file)} for name, file in commit.files.items()],
        }

    async def tree(self, request: Request) -> Response:
        commit = self.repository(request).at(request.path_params["revision"])
        entries = [
            {"type": "file", "path": name, "oid": file.oid, **_sizes(file), **self._xet(file)}
            for name, file in sorted(commit.files.items())
        ]
        return JSONResponse(entries)

    def _xet(self, file: File) -> Mapping[str, object]:
        xet_hash = self.store.objects.xet_hash(file.sha256) if file.sha256 else None
        return {"xetHash": xet_hash} if xet_hash else {}

    async def auth_check(self, request: Request) -> Response:
        self.readable(request)
        return JSONResponse({})

    async def auth_check_write(self, request: Request) -> Response:
        self.writable(request)
        return JSONResponse({})

    async def create(self, request: Request) -> Response:
        user, asked = self.user(request), await request.json()
        namespace = asked.get("organization") or (user.name if user else "")
        name = f"{namespace}/{asked['name']}"
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if name in self.store.repositories:
            url = f"{request.base_url}{name}"
            return JSONResponse({"error": "You already created this model repo", "url": url}, 409)
        if not user.may_write_to(namespace):
            raise Refusal(403, f"You don't have the rights to create a model under the namespace {namespace}.")
        self.store.create(name, private=asked.get("visibility") == "private")
        return JSONResponse({"url": f"{request.base_url}{name}", "name": name, "id": name})

    async def delete(self, request: Request) -> Response:
        asked = await request.json()
        del self.store.repositories[f"{asked['organization']}/{asked['name']}"]
        return JSONResponse({})

    async def settings(self, request: Request) -> Response:
        self.writable(request).private = (await request.json())["private"]
        return JSONResponse({})

    async def validate_yaml(self, request: Request) -> Response:
        content = (await request.json())["content"]
        try:
            yaml.safe_load(content.split("---\n")[1] if content.startswith("---\n") else "")
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def preupload(self, request: Request) -> Response:
        repository = self._for_commit(request)
        held = repository.at(request.path_params["revision"]).files
        ignored = self._ignored(repository)
        answers = []
        for asked in (await request.json())["files"]:
            name, known = asked["path"], held.get(asked["path"])
            mode = "lfs" if is_large(name, asked["size"]) else "regular"
            oid = (known.sha256 or known.oid) if known else None
            answers.append({"path": name, "uploadMode": mode, "shouldIgnore": name in ignored, "oid": oid})
        return JSONResponse({"files": answers})

    def _ignored(self, repository: Repository) -> list[str]:
        file = repository.head.files.get(".gitignore")
        return self.store.content(file).decode().split() if file else []

    def _for_commit(self, request: Request) -> Repository:
        """A pull request needs no more than the right to read."""
        if "create_pr" not in request.query_params:
            return self.writable(request)
        if self.user(request) is None:
            raise Refusal(401, "Invalid username or password.")
        return self.repository(request)

    async def lfs_batch(self, request: Request) -> Response:
        asked = await request.json()
        if asked["operation"] == "download":
            held = {file.sha256 for commit in self.readable(request).commits.values() for file in commit.files.values()}
            objects = [self._place(wanted, is_held=wanted["oid"] in held) for wanted in asked["objects"]]
            return JSONResponse({"transfer": "basic", "objects": objects})
        self.writable(request) if "ref" in asked else self.repository(request)
        objects = []
        for wanted in asked["objects"]:
            upload = {"upload": {"href": f"{self.storage}/{wanted['oid']}?X-Amz-Signature=secret"}}
            objects.append(wanted if wanted["oid"] in self.store.objects else {**wanted, "actions": upload})
        return JSONResponse({"transfer": "basic", "objects": objects})

    def _place(self, wanted: Mapping[str, object], *, is_held: bool) -> Mapping[str, object]:
        if not is_held:
            return {**wanted, "error": {"code": 404, "message": "Object does not exist"}}
        place = {"href": f"{self.storage}/{wanted['oid']}?X-Amz-Signature=secret", "expires_in": 3600}
        return {**wanted, "authenticated": True, "actions": {"download": place}}

    async def put_object(self, request: Request) -> Response:
        if self.store.objects.put(await request.body()) != request.path_params["sha256"]:
            raise Refusal(400, "The content does not have the digest that was announced.")
        return Response()

    async def commit(self, request: Request) -> Response:
        repository = self._for_commit(request)
        header, *lines = [json.loads(line) for line in (await request.body()).splitlines()]
        parent = header["value"].get("parentCommit")
        if parent is not None and parent != repository.head.oid:
            raise Refusal(412, "The revision has moved on since the parent commit.")
        changes = apply(self.store, lines)
        ref, number = "main", sum(name.startswith("refs/pr/") for name in repository.refs) + 1
        if "create_pr" in request.query_params:
            ref = f"refs/pr/{number}"
            repository.refs[ref] = repository.head.oid
        commit = repository.commit(ref, changes, header["value"]["summary"])
        base = f"{request.base_url}{repository.name}"
        answer = {"success": True, "commitUrl": f"{base}/commit/{commit.oid}", "commitOid": commit.oid}
        request_url = {"pullRequestUrl": f"{base}/discussions/{number}"} if ref != "main" else {}
        return JSONResponse(answer | request_url)

    async def resolve(self, request: Request) -> Response:
        repository = self.readable(request)
        commit = repository.at(request.path_params["revision"])
        file = commit.files.get(request.path_params["path"])
        common = {"X-Repo-Commit": commit.oid}
        if file is None:
            message = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return Response(status_code=404, headers=common | message)
        if file.sha256 is None:
            return _serve(request, self.store.content(file), common | {"ETag": f'"{file.oid}"'}, has_weights=False)
        linked = {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.sha256}"'}
        xet_hash = self.store.objects.xet_hash(file.sha256)
        if xet_hash is not None:
            route = f"{request.base_url}api/models/{repository.name}/xet-read-token/{commit.oid}"
            linked |= {"X-Xet-Hash": xet_hash, "X-Xet-Refresh-Route": route}
        url = f"{self.storage}/{file.sha256}?X-Amz-Signature=secret"
        return RedirectResponse(url, 302, common | linked)

    async def get_object(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        if sha256 not in self.store.objects:
            return Response(status_code=404)
        return _serve(request, self.store.objects.get(sha256), {"ETag": f'"{sha256}"'}, has_weights=True)

    async def xet_token(self, request: Request) -> Response:
        self.readable(request) if request.path_params["kind"] == "read" else self._for_commit(request)
        expiry = int(time.time()) + TOKEN_SECONDS
        url = f"local://{self.store.objects.folder}"  # type: ignore[attr-defined] - only asked for in Xet mode
        headers = {
            "X-Xet-Cas-Url": url,
            "X-Xet-Access-Token": "xet",
            "X-Xet-Token-Expiration": str(expiry),
        }
        return JSONResponse({"casUrl": url, "accessToken": "xet", "exp": expiry}, headers=headers)


def _blob(file: File) -> Mapping[str, object]:
    return {"blobId": file.oid, **_sizes(file)}


def _sizes(file: File) -> Mapping[str, object]:
    if file.sha256 is None:
        return {"size": file.size}
    lfs = {"sha256": file.sha256, "oid": file.sha256, "size": file.size, "pointerSize": 134}
    return {"size": file.size, "lfs": lfs}


def _serve(request: Request, content: bytes, headers: Mapping[str, str], *, has_weights: bool) -> Response:
    """The bytes that the Range header asks for, or all."""
    begin, end = _byte_range(request.headers.get("range"), len(content))
    if begin >= end and content:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
    part = content[begin:end]
    partly = "range" in request.headers
    span = {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"} if partly else {}
    if request.method == "GET" and has_weights:
        request.scope["asked"].weights += max(end - max(begin, weights_start(content)), 0)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(part), CHUNK):
            yield part[start : start + CHUNK]

    sizes = {"Content-Length": str(len(part)), "Accept-Ranges": "bytes"}
    all_headers = {**headers, **span, **sizes, "Content-Type": "application/octet-stream"}
    status = 206 if partly else 200
    return (
        Response(None, status, all_headers)
        if request.method == "HEAD"
        else StreamingResponse(chunks(), status, all_headers)
    )


def _byte_range(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _routes(api: Api) -> list[Route]:
    model, rest = "/api/models/{ns}/{name}", "/{ns}/{name}"

    def route(path: str, answer: Callable[..., Any], *methods: str) -> Route:
        return Route(path, answer, methods=list(methods or ("GET",)))

    return [
        route("/api/whoami-v2", api.whoami),
        route("/api/validate-yaml", api.validate_yaml, "POST"),
        route("/api/repos/create", api.create, "POST"),
        route("/api/repos/delete", api.delete, "DELETE"),
        route("/api/models", api.search),
        route(f"{model}/auth-check", api.auth_check),
        route(f"{model}/auth-check/write", api.auth_check_write),
        route(f"{model}/settings", api.settings, "PUT"),
        route(f"{model}/tree/{{revision}}", api.tree),
        route(f"{model}/preupload/{{revision}}", api.preupload, "POST"),
        route(f"{model}/commit/{{revision}}", api.commit, "POST"),
        route(f"{model}/xet-{{kind}}-token/{{revision:path}}", api.xet_token),
        route(f"{model}/revision/{{revision:path}}", api.info),
        route(model, api.info),
        route(f"{rest}/info/lfs/objects/batch", api.lfs_batch, "POST"),
        route(f"{rest}/resolve/{{revision}}/{{path:path}}", api.resolve, "GET", "HEAD"),
        route("/_storage/{sha256}", api.get_object, "GET", "HEAD"),
        route("/_storage/{sha256}", api.put_object, "PUT"),
    ]
