"""What the Merge tab's widgets show for a form and its draft: only what changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from blockmerge.core.block_settings import has_one_line
from blockmerge.core.method import BaseUse
from blockmerge.core.recipe import dump_recipe
from blockmerge.ui.draft import Draft
from blockmerge.ui.forms import BASE, LETTERS, Form, parameter_key
from blockmerge.ui.globs import globs_of
from blockmerge.ui.lines.line import lines_value
from blockmerge.ui.loader.loader import Loader, kept
from blockmerge.ui.plan_views import single_tensors
from blockmerge.ui.tabs.merge_widgets import Widgets, device_help, more_label
from blockmerge.ui.wording import say

News = dict[Any, Any]


def visible_models(form: Form, already: Sequence[str]) -> list[str]:
    most = form.entry.most_models or len(LETTERS)
    return [key for key in LETTERS[:most] if key in (*LETTERS[:2], *form.references, *already)]


def boxes_news(w: Widgets, form: Form, already: Sequence[str]) -> News:
    """Which models can be chosen for the method, and its parameters."""
    method, visible = form.entry, visible_models(form, already)
    return _parameters_news(w, form) | {
        **{w.boxes[key]: gr.Column(visible=key in visible) for key in LETTERS},
        w.open: tuple(already),
        w.base_row: gr.Row(visible=method.base is not BaseUse.NONE),
        w.more_row: gr.Row(visible=any(key in visible for key in LETTERS[2:])),
        w.swap: gr.Button(visible="b" in visible),
        w.add_model: gr.Button(visible=len(visible) < (method.most_models or len(LETTERS))),
        w.form["method"]: gr.update(info=method.description, value=form.method),
        w.form["seed"]: gr.Textbox(visible=method.is_random),
    }


def _parameters_news(w: Widgets, form: Form) -> News:
    method = form.entry
    wanted = {parameter_key(entry): entry for entry in method.parameters}
    if has_one_line(method, len([key for key in form.references if key != BASE])):
        wanted = {key: entry for key, entry in wanted.items() if entry.name != "normalize"}
    return {
        widget: gr.update(visible=True, value=form.parameters[wanted[key].name])
        if key in wanted
        else gr.update(visible=False)
        for key, widget in w.parameters.items()
    }


def said_news(w: Widgets, form: Form, draft: Draft) -> News:
    """Everything that is said of a form, and what can be pressed."""
    seed = form.seed if form.entry.is_random else ""
    straight = say("merge.device_straight") if form.keeps_nothing else ""
    news: News = {
        w.checks: lines_value([*draft.checks, *single_tensors(globs_of(form.origin))]),
        w.first_run: gr.Row(visible=not any(form.references.values())),
        w.result: gr.Column(visible=draft.grid is not None),
        w.formula: lines_value(draft.formula),
        w.bar: lines_value(draft.bar),
        w.queue: gr.Button(interactive=draft.ready),
        w.save: gr.Button(interactive=draft.plan is not None),
        w.place: gr.Row(visible=form.keeps_nothing),
        w.more: gr.Accordion(label=more_label(form.shard_size, form.nonfinite, seed, form.computed_on)),
        w.origin: draft.recipe,
        w.form["device"]: gr.update(
            info=straight or device_help(form.device, form.entry, draft.gpu),
            interactive=bool(draft.gpu and draft.gpu.gpu) and not straight,
        ),
    }
    if draft.name:
        news[w.looked] = draft.name
    return news if draft.name == form.name else news | name_news(w, draft.name)


def name_news(w: Widgets, name: str) -> News:
    """A name that the page gives, so that it may take it back."""
    return {w.form["name"]: name, w.suggested: name}


def without_echoes(news: News, sent: Mapping[Any, Any]) -> News:
    """Nothing that the browser has sent goes back to it: a person may have changed it since."""
    told: News = {}
    for widget, new in news.items():
        is_update = isinstance(new, dict) and new.get("__type__") == "update"
        if widget in sent and is_update and "value" in new and new["value"] == sent[widget]:
            told[widget] = {key: held for key, held in new.items() if key != "value"}
        elif widget not in sent or is_update or new != sent[widget]:
            told[widget] = new
    return told


def kept_news(loader: Loader, draft: Draft, device: str) -> News:
    """What a reload brings back."""
    shape = draft.grid.shape if draft.grid else ""
    return {loader: kept(dump_recipe(draft.recipe), draft.name, shape, device)} if draft.recipe else {}
