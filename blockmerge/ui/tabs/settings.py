"""The Settings tab: what this page was started with, what the machine has, and what is left over."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from blockmerge import __version__
from blockmerge.core.describe import size_text
from blockmerge.engine.devices import Found
from blockmerge.engine.memory import memory_here
from blockmerge.errors import InputError, JobRequestError
from blockmerge.jobs.states import LOCAL
from blockmerge.settings import Settings
from blockmerge.ui.account.account import Account
from blockmerge.ui.downloaded import delete_downloaded, downloaded
from blockmerge.ui.left_folders import delete_left_folder, left_folders
from blockmerge.ui.sheet.sheet import Sheet
from blockmerge.ui.status.status import free_space
from blockmerge.ui.tabs import Context, Tab
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

Value = dict[str, object]
Rows = Sequence[tuple[str, str]]


def group(part: str, rows: Rows, *, help_: str = "", paths: Sequence[str] = ()) -> Value:
    named = [(say(f"settings.{name}"), text) for name, text in rows]
    return {"title": say(f"settings.{part}"), "help": help_, "paths": list(paths), "rows": named}


def view(context: Context, owner: str, told: str = "", wrong: str = "") -> Value:
    """All that the tab shows. Where other people can reach the page, no path of this machine is told."""
    is_private = owner == LOCAL
    settings = context.settings
    groups = [_models(settings)] if is_private else []
    groups += [_results(settings, is_private=is_private), _queue(settings, is_private=is_private), _machine(context)]
    lists = {"left": _left(context), "cached": downloaded(context)} if is_private else dict.fromkeys(("left", "cached"))
    return {"groups": [*groups, _about(settings, is_private=is_private)], **lists, "told": told, "wrong": wrong}


def _models(settings: Settings) -> Value:
    paths = [str(folder) for folder in settings.models]
    text = say("settings.models_help") if paths else say("settings.models_none")
    return group("models", (), help_=text, paths=paths)


def _results(settings: Settings, *, is_private: bool) -> Value:
    days = settings.keep_days
    kept = say("settings.kept_forever") if days is None else say("settings.kept_days", days=days)
    rows = [("kept", say("settings.kept_days_one") if days == 1 else kept)]
    if settings.disk_budget is not None:
        rows.append(("budget", size_text(settings.disk_budget)))
    if settings.bucket is not None:
        rows.append(("copied", str(settings.bucket) if is_private else say("settings.copied_where")))
    return group("results", [("output", str(settings.output)), *rows] if is_private else rows)


def _queue(settings: Settings, *, is_private: bool) -> Value:
    # The address of a database holds its password.
    is_file = settings.queue.startswith("sqlite")
    where = str(settings.queue_file) if is_file else say("settings.queue_postgres")
    rows = [
        ("at_once", str(settings.jobs_at_once)),
        ("waiting", say("settings.waiting_most", count=settings.waiting_limit)),
    ]
    return group("jobs", [("queue", where), *rows] if is_private else rows)


def _machine(context: Context) -> Value:
    memory, settings = memory_here(), context.settings
    free, total = size_text(memory.free), size_text(memory.total)
    return group(
        "machine",
        [
            ("memory", say("settings.memory_of", free=free, total=total)),
            ("disk", say("settings.disk_free", free=size_text(free_space(settings.output)))),
            ("processors", str(os.cpu_count() or 1)),
            ("device", _device(context.store.find_gpu())),
        ],
    )


def _device(found: Found | None) -> str:
    if found is None:
        return say("settings.device_unknown")
    return say("settings.device_gpu", gpu=found.gpu) if found.gpu else say("settings.device_cpu", why=found.why)


def _about(settings: Settings, *, is_private: bool) -> Value:
    rows = [("version", __version__), ("python", platform.python_version())]
    paths = [("home", str(settings.home)), ("logs", str(settings.logs))]
    return group("about", [*rows, *(paths if is_private else ())])


def _left(context: Context) -> list[Value]:
    return [
        {"name": left.path.name, "size": size_text(left.size), "changed": left.changed}
        for left in left_folders(context.settings, context.store)
    ]


def delete(context: Context, owner: str, told: object) -> str:
    """Carry out an `ask` of the sheet; a sentence. Raises JobRequestError, whatever was sent."""
    match told:
        case {"do": "delete", "name": str(name), **rest} if owner == LOCAL and not rest:
            return say("settings.left_deleted", name=delete_left_folder(context.settings, context.store, name))
        case {"do": "delete_cached", "name": str(name), **rest} if owner == LOCAL and not rest:
            return delete_downloaded(context, name)
        case _:
            raise JobRequestError(say("settings.wrong_request"))


@dataclass(frozen=True, slots=True)
class Handlers:
    context: Context

    def refresh(self, request: gr.Request) -> Value:
        return view(self.context, owner_of(request))

    def ask(self, request: gr.Request, event: gr.EventData) -> Value:
        owner = owner_of(request)
        try:
            return view(self.context, owner, told=delete(self.context, owner, event._data))
        except InputError as error:
            return view(self.context, owner, wrong=str(error))


def build(context: Context) -> None:
    handlers = Handlers(context)
    account, sheet = Account(elem_id="account"), Sheet(elem_id="settings")
    account.connect(context.identity, account.parent)
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    sheet.parent.select(handlers.refresh, None, sheet, **quick)
    sheet.ask(handlers.ask, None, sheet, trigger_mode="multiple", **quick)


TAB = Tab(say("settings.tab"), 5, build)
