"""The web application: the page at /, /healthz, /files, and the guard around all of it."""

import os
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from blockmerge.checkpoints.library import Library
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings
from blockmerge.ui.files import files_router
from blockmerge.ui.guard import Guard, answered_hosts
from blockmerge.ui.tabs import Context, Tab, jobs, merge
from blockmerge.ui.tabs.jobs import is_worker_alive
from blockmerge.ui.theme import page_theme

TABS: tuple[Tab, ...] = (merge.TAB, jobs.TAB)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
KEEP_UPLOADS = 3600  # seconds; the page takes no files, but Gradio accepts them

_HERE = Path(__file__).parent
_BRAND = (
    '<div class="brand"><svg viewBox="0 0 20 20" aria-hidden="true"><path class="a" d="M2 4h4v12H2zM8 4h4v6H8z"/>'
    '<path class="b" d="M8 10h4v6H8zM14 4h4v12h-4z"/></svg>blockmerge</div>'
)


def build_app(settings: Settings, store: Store, *, listen: str = "127.0.0.1") -> ASGIApp:
    """Everything that the page's process serves; `listen` is the address it will be served on."""
    # Where only this machine can reach the page, whoever sees it may as well choose among the machine's files.
    library = Library((*settings.models, settings.output), any_path=listen in LOOPBACK)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def health() -> dict[str, object]:
        return {"status": "ok", "worker": is_worker_alive(store)}

    app.include_router(files_router(store))
    gr.mount_gradio_app(
        app,
        build_blocks(Context(settings, store, library)),
        path="/",
        theme=page_theme(),
        css_paths=[_HERE / "tokens.css", _HERE / "page.css"],
        footer_links=[],
        run_history=False,
        max_file_size="1mb",
        show_error=True,
        ssr_mode=False,
    )
    return Guard(app, answered_hosts(listen, settings.hosts, os.environ))


def build_blocks(context: Context) -> gr.Blocks:
    # Read again by Gradio wherever it would call home, so an argument of Blocks is not enough.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with gr.Blocks(title="blockmerge", delete_cache=(KEEP_UPLOADS, KEEP_UPLOADS)) as blocks:
        gr.HTML(_BRAND, elem_id="head", apply_default_css=False)
        with gr.Tabs(elem_id="tabs"):
            for tab in sorted(TABS, key=lambda tab: tab.order):
                with gr.Tab(tab.title, id=tab.title.lower()):
                    tab.build(context)
    return blocks
