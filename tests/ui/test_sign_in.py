"""A visitor of a Space signs in at the Hub: in the browser that began it, and for that visitor alone."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI, Form, Request
from huggingface_hub import constants
from starlette.responses import JSONResponse, Response
from starlette.testclient import TestClient

from blockmerge.errors import SignInError
from blockmerge.hub.oauth import Provider, read_provider
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from blockmerge.ui.identity import Identity
from blockmerge.ui.sign_in import PATIENCE, Journeys, sign_in_router
from blockmerge.ui.visitors import Visitors, owner_of
from blockmerge.ui.web import build_app
from tests.hub_server import HubServer, running_hub
from tests.ui.conftest import serving

PAGE, KEY = "https://ann-blend.hf.space", b"k" * 32
REFUSED = "The Hub did not confirm who you are. Sign in again.\n"
NOT_BEGUN = "This sign-in was not begun here, or took too long. Sign in again.\n"
SPACE = {
    "SPACE_ID": "ann/blend",
    "SPACE_HOST": "ann-blend.hf.space,blend.example",
    "OPENID_PROVIDER_URL": "https://hub.example/",
    "OAUTH_CLIENT_ID": "client",
    "OAUTH_CLIENT_SECRET": "secret",
    "OAUTH_SCOPES": "openid profile read-repos gated-repos contribute-repos",
}


@dataclass
class HubsDoor:
    """The part of the Hub that people sign in at: `codes` it has given out, with the challenge that came with each."""

    token: str
    seconds: Any = 8 * 3600
    codes: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def confirm(self, address: str) -> tuple[str, str]:
        """What the person's browser comes back with, after they said yes: code and state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        self.asked.append(asked)
        self.codes[f"code-{len(self.codes)}"] = asked["code_challenge"]
        return f"code-{len(self.codes) - 1}", asked["state"]

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/oauth/token")
        def token(request: Request, code: str = Form(), code_verifier: str = Form()) -> Response:
            digest = hashlib.sha256(code_verifier.encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            basic = "Basic " + base64.b64encode(b"client:secret").decode()
            if self.codes.pop(code, "") != challenge or request.headers["authorization"] != basic:
                return JSONResponse({"error": "invalid_grant"}, 400)
            return JSONResponse({"access_token": self.token, "expires_in": self.seconds})

        return app


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def door(hub: HubServer) -> HubsDoor:
    return HubsDoor(hub.store.add_user("ann").token)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path, is_private=False, now=lambda: 1000.0)


@pytest.fixture
def app(door: HubsDoor, identity: Identity) -> Iterator[Visitors]:
    inner = FastAPI()

    @inner.get("/whose")
    def whose(request: Request) -> str:
        return owner_of(request)

    with serving(door.app) as port:
        provider = Provider(f"http://127.0.0.1:{port}", PAGE, "client", "secret", SPACE["OAUTH_SCOPES"])
        inner.include_router(sign_in_router(provider, identity))
        yield Visitors(inner, KEY, {})


def browser(app: Visitors) -> TestClient:
    return TestClient(app, base_url=PAGE, follow_redirects=False)


def begin(client: TestClient, door: HubsDoor) -> dict[str, str]:
    code, state = door.confirm(client.get("/sign-in").headers["location"])
    return {"code": code, "state": state}


def test_a_visitor_comes_back_as_somebody_and_nobody_else_does(
    app: Visitors, door: HubsDoor, identity: Identity
) -> None:
    with browser(app) as ann, browser(app) as bob:
        back = ann.get("/sign-in/done", params=begin(ann, door))
        owners = [ann.get("/whose").json(), bob.get("/whose").json()]

    assert (back.status_code, back.headers["location"]) == (303, f"{PAGE}/")
    held = identity.sign_in_of(owners[0])
    assert held is not None
    assert (held.name, held.until) == ("ann", 1000.0 + 8 * 3600)
    assert [identity.hub_of(owner).token for owner in owners] == [door.token, None]
    assert door.asked[0]["redirect_uri"] == f"{PAGE}/sign-in/done"
    assert door.asked[0]["scope"] == "openid profile read-repos gated-repos contribute-repos"
    assert door.token not in f"{back.headers} {back.text} {ann.cookies}"


def test_another_persons_way_back_signs_nobody_in(app: Visitors, door: HubsDoor, identity: Identity) -> None:
    with browser(app) as ann, browser(app) as mallory:
        hers = begin(mallory, door)
        unasked = ann.get("/sign-in/done", params=hers)
        begin(ann, door)
        swapped = ann.get("/sign-in/done", params=hers)
        owner = ann.get("/whose").json()

    assert (unasked.status_code, unasked.text) == (swapped.status_code, swapped.text) == (403, NOT_BEGUN)
    assert not identity.is_signed_in_here(owner)


def test_a_way_back_is_gone_once(app: Visitors, door: HubsDoor) -> None:
    with browser(app) as ann:
        way = begin(ann, door)
        ann.get("/sign-in/done", params=way)
        again = ann.get("/sign-in/done", params=way)

    assert (again.status_code, again.text) == (403, NOT_BEGUN)


@pytest.mark.parametrize("code", ["", "stolen"])
def test_a_code_that_the_hub_did_not_give_signs_nobody_in(
    app: Visitors, door: HubsDoor, identity: Identity, code: str
) -> None:
    with browser(app) as ann:
        back = ann.get("/sign-in/done", params={**begin(ann, door), "code": code})
        owner = ann.get("/whose").json()

    assert (back.status_code, back.text) == (403, REFUSED)
    assert not identity.is_signed_in_here(owner)


def test_a_token_that_the_hub_then_does_not_take_is_not_held(app: Visitors, door: HubsDoor, identity: Identity) -> None:
    door.token = "hf_wrongtoken"
    with browser(app) as ann:
        back = ann.get("/sign-in/done", params=begin(ann, door))
        owner = ann.get("/whose").json()

    assert back.status_code == 403
    assert back.text.startswith("The Hub does not accept this token")
    assert not identity.is_signed_in_here(owner)


def test_a_hub_that_is_not_there_is_a_sentence(identity: Identity, hub: HubServer) -> None:
    inner = FastAPI()
    inner.include_router(sign_in_router(Provider("http://127.0.0.1:9", PAGE, "client", "secret", "openid"), identity))
    with browser(Visitors(inner, KEY, {})) as ann:
        state = parse_qs(urlsplit(ann.get("/sign-in").headers["location"]).query)["state"][0]
        back = ann.get("/sign-in/done", params={"code": "x", "state": state})

    assert (back.status_code, back.text) == (403, "http://127.0.0.1:9 cannot be asked who you are. Try again.\n")


def test_who_takes_too_long_begins_again() -> None:
    clock = [0.0]
    journeys = Journeys(lambda: clock[0])
    state, verifier = journeys.begin("browser:1")
    clock[0] = PATIENCE
    assert journeys.end("browser:1", state) == verifier

    state, _ = journeys.begin("browser:1")
    clock[0] += PATIENCE + 1
    with pytest.raises(SignInError):
        journeys.end("browser:1", state)


def test_only_a_space_offers_it() -> None:
    assert read_provider(SPACE) == Provider(
        "https://hub.example", PAGE, "client", "secret", "openid profile read-repos gated-repos contribute-repos"
    )
    for missing in ("SPACE_ID", "SPACE_HOST", "OPENID_PROVIDER_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"):
        assert read_provider({**SPACE, missing: ""}) is None
    assert "secret" not in repr(read_provider(SPACE)).replace("client_secret", "")


@pytest.mark.parametrize("is_space", [True, False])
def test_the_whole_page_offers_it_on_a_space_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_space: bool
) -> None:
    for name, value in SPACE.items():
        monkeypatch.setenv(name, value)
    if not is_space:
        monkeypatch.delenv("SPACE_ID")
    settings = read_settings({"BLOCKMERGE_HOME": str(tmp_path), "BLOCKMERGE_HOSTS": "ann-blend.hf.space"})
    with Store(settings.queue) as store, serving(lambda: build_app(settings, store)) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/sign-in", headers={"Host": "ann-blend.hf.space"})
        answer = connection.getresponse()
        connection.close()

    sent = answer.headers.get("location", "").startswith("https://hub.example/oauth/authorize?")
    assert (answer.status == 303 and sent) == is_space
