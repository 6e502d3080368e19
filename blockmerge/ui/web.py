"""The web application: the page at /, /healthz, /files, and the guard around all of it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from blockmerge.checkpoints.library import Library
from blockmerge.jobs.bucket import count_outlived
from blockmerge.jobs.store import Store
from blockmerge.jobs.tokens import telling_tokens
from blockmerge.settings import Settings
from blockmerge.ui import api
from blockmerge.ui.boundary import HANDLERS, Boundary, Page
from blockmerge.ui.files import files_router
from blockmerge.ui.guard import Guard, answered_hosts
from blockmerge.ui.identity import Identity
from blockmerge.ui.job_events import job_events_router
from blockmerge.ui.metrics import metrics_router
from blockmerge.ui.password import Password
from blockmerge.ui.tabs import Context, Tab, jobs, merge, recipes, try_it
from blockmerge.ui.tabs import settings as settings_tab
from blockmerge.ui.tabs.jobs import is_worker_alive
from blockmerge.ui.theme import page_theme
from blockmerge.ui.visitors import Visitors, read_key

TABS: tuple[Tab, ...] = (merge.TAB, jobs.TAB, try_it.TAB, recipes.TAB, settings_tab.TAB)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LOOK_EVERY = 0.02  # seconds
KEEP_UPLOADS = 3600  # seconds; the page takes no files, but Gradio accepts them

_HERE = Path(__file__).parent
_BRAND = (
    '<div class="brand"><svg viewBox="0 0 20 20" aria-hidden="true"><path class="a" d="M2 4h4v12H2zM8 4h4v6H8z"/>'
    '<path class="b" d="M8 10h4v6H8zM14 4h4v12h-4z"/></svg>blockmerge</div>'
)


def build_app(settings: Settings, store: Store, *, listen: str = "127.0.0.1", root_path: str = "") -> ASGIApp:
    """Everything that the page's process serves; `listen` is the address it will be served on.

    `root_path` is where a proxy has put the page, such as "/blockmerge"; it takes that off before it asks.
    """
    # A proxy before the page, or a Space, brings other people although the page listens on this machine alone.
    is_private = listen in LOOPBACK and not settings.hosts and "SPACE_ID" not in os.environ
    # Where only this machine can reach the page, whoever sees it may as well choose among the machine's files.
    library = Library(settings.shelves, any_path=is_private)
    identity = Identity(settings.home, is_private)

    @asynccontextmanager
    async def telling(_: FastAPI) -> AsyncIterator[None]:
        with telling_tokens(settings.home, lambda job: identity.token_for(store, job)):
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, exception_handlers=HANDLERS, lifespan=telling)

    @app.get("/healthz")
    def health() -> dict[str, object]:
        return {"status": "ok", "worker": is_worker_alive(store)}

    app.include_router(files_router(store, root_path))
    app.include_router(job_events_router(store, settings))
    if settings.metrics:
        app.include_router(metrics_router(store))
    if "SPACE_ID" in os.environ:
        identity = _with_sign_in(app, identity)
    gr.mount_gradio_app(
        app,
        build_blocks(Context(settings, store, library, identity, kept=count_outlived(store, settings.bucket))),
        path="/",
        root_path=root_path or None,
        app_kwargs={"exception_handlers": dict(HANDLERS)},
        theme=page_theme(),
        css_paths=[_HERE / "tokens.css", _HERE / "page.css", _HERE / "tabs" / "merge.css"],
        footer_links=[],
        run_history=False,
        max_file_size="1mb",
        show_error=True,
        ssr_mode=False,
        mcp_server=find_spec("mcp") is not None,  # an extra of its own: docs/api.md
    )
    known = Visitors(Boundary(app), None if is_private else read_key(settings.home))
    inner = Password(known, settings.password) if settings.password else known
    return Guard(inner, answered_hosts(listen, settings.hosts, os.environ))


def _with_sign_in(app: FastAPI, identity: Identity) -> Identity:
    """The same where people can sign in at the Hub as well; only a Space whose card says so can offer that."""
    from blockmerge.hub.oauth import read_provider  # the Hub's client takes most of a second to import
    from blockmerge.ui.sign_in import ADDRESS, sign_in_router

    provider = read_provider(os.environ)
    if provider is None:
        return identity
    app.include_router(sign_in_router(provider, identity))
    return replace(identity, address=ADDRESS)


def build_blocks(context: Context) -> gr.Blocks:
    # Read again by Gradio wherever it would call home, so an argument of Blocks is not enough.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # After every event Gradio sums up the last 10,000 with pandas, for a page that is closed here.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**12)
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    with Page(title="blockmerge", delete_cache=(KEEP_UPLOADS, KEEP_UPLOADS)) as blocks:
        api.connect(context)  # before the tabs, whose handlers would take the names
        gr.HTML(_BRAND, elem_id="head", apply_default_css=False)
        context.status.render()
        context.loader.render()
        with gr.Tabs(elem_id="tabs") as tabs:
            by_id: dict[str, gr.Tab] = {}
            for tab in sorted(TABS, key=lambda tab: tab.order):
                with gr.Tab(tab.title, id=tab.title.lower()) as by_id[tab.title.lower()]:
                    tab.build(context)
        context.loader.connect(tabs, by_id)
    # Gradio looks 1,000 times a second for queued events, which costs 8 % of a core while nobody is there.
    blocks._queue.sleep_when_free = LOOK_EVERY
    return blocks
