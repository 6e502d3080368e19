"""The Merge tab: two models, a weight for each block, and the way into the queue."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from blockmerge.checkpoints.library import EXAMPLE_PAIR
from blockmerge.errors import InputError, JobRequestError
from blockmerge.ui.draft import CHOOSE, Draft, Drafting
from blockmerge.ui.equaliser.equaliser import Equaliser
from blockmerge.ui.forms import DEFAULT_SHARD_SIZE, LONGEST_NAME, SHARD_SIZES, Form, read_form
from blockmerge.ui.lines.lines import Lines
from blockmerge.ui.plan_views import lines_value, said
from blockmerge.ui.tabs import Context, Tab


class _Page:
    """The tab's widgets, and what each event does to them."""

    def __init__(self, context: Context) -> None:
        self.drafting = Drafting(context)
        self._library = context.library
        with gr.Column(elem_classes="card", elem_id="models"):
            with gr.Row(elem_classes="pair"):
                self.a, self.facts_a = self._model("A")
                self.swap = gr.Button("Swap", elem_id="swap", scale=0, min_width=88)
                self.b, self.facts_b = self._model("B")
            self.checks = Lines(elem_id="checks")
            with gr.Row(elem_id="first-run") as self.first_run:
                gr.HTML(
                    "<p><b>A first merge in two clicks.</b> Two tiny language models of 6 layers come with the page: "
                    "one writes in lower case, the other in CAPITALS.</p>",
                    apply_default_css=False,
                )
                self.example = gr.Button("Use the example pair", variant="primary", scale=0, elem_id="example")
        with gr.Column(elem_classes="card", elem_id="weights"):
            self.grid = Equaliser(elem_id="grid")
            self.formula = Lines(elem_id="formula")
        with gr.Column(elem_classes="card", elem_id="result", visible=False) as self.result:
            gr.HTML("<h2>Result</h2>", apply_default_css=False)
            with gr.Row():
                self.name = gr.Textbox(
                    label="Name of the folder",
                    max_length=LONGEST_NAME,
                    info=f"It is made in {context.settings.output}.",
                    elem_id="name",
                )
                self.shard_size = gr.Dropdown(
                    SHARD_SIZES,
                    value=DEFAULT_SHARD_SIZE,
                    allow_custom_value=True,
                    label="Largest weight file",
                    info="Bigger models are split into several files. MB, GB, MiB or GiB.",
                    elem_id="shard-size",
                )
        with gr.Row(elem_id="bar"):
            self.bar = Lines(lines_value(said(CHOOSE)), elem_id="needs")
            self.queue = gr.Button("Add to queue", variant="primary", interactive=False, scale=0, elem_id="queue")
        self.form = [self.a, self.b, self.grid, self.name, self.shard_size]
        self.shown = [
            self.facts_a,
            self.facts_b,
            self.checks,
            self.first_run,
            self.result,
            self.formula,
            self.bar,
            self.queue,
            self.name,
        ]

    def _model(self, letter: str) -> tuple[gr.Dropdown, Lines]:
        with gr.Column(min_width=240):
            model = gr.Dropdown(
                self.choices(),
                value=None,
                allow_custom_value=True,
                label=f"Model {letter}",
                elem_id=f"model-{letter.lower()}",
                elem_classes="model",
            )
            return model, Lines(elem_id=f"facts-{letter.lower()}")

    def choices(self) -> list[str]:
        return list(self._library.offered())

    def connect(self) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        everything = [self.grid, *self.shown]
        gr.on(None, lambda: (gr.Dropdown(choices=self.choices()),) * 2, outputs=[self.a, self.b], **quick)
        # By default Gradio drops an event while the one before is answered: the second model of a quick person.
        gr.on([self.a.input, self.b.input], self.choose, self.form, everything, trigger_mode="always_last", **quick)
        self.example.click(self.use_example, self.form, [self.a, self.b, *everything], **quick)
        self.swap.click(self.swap_models, self.form, [self.a, self.b, *everything], **quick)
        gr.on(
            [self.grid.input, self.name.change, self.shard_size.input],
            self.edit,
            self.form,
            self.shown,
            trigger_mode="always_last",
            **quick,
        )
        # Queued, as Gradio has no way to show what gr.Info says of a call that is not.
        self.queue.click(self.add, self.form, self.shown, **{**quick, "queue": True})

    def choose(self, *values: Any) -> tuple[Any, ...]:
        """Other models: the grid is drawn anew, and the name follows them."""
        form = replace(_read(values), name="")
        draft = self.drafting.look(form)
        # A grid that is shown already may have a stroke that has not come here yet.
        is_shown = form.grid is not None and draft.grid == form.grid
        return gr.skip() if is_shown else draft.grid, *self._show(form, draft)

    def use_example(self, *values: Any) -> tuple[Any, ...]:
        return *EXAMPLE_PAIR, *self.choose(*EXAMPLE_PAIR, *values[2:])

    def swap_models(self, *values: Any) -> tuple[Any, ...]:
        a, b, *others = values
        return b, a, *self.choose(b, a, *others)

    def edit(self, *values: Any) -> tuple[Any, ...]:
        """Other weights or settings: everything that is said follows, the grid is the person's own."""
        form = _read(values)
        if not (form.a and form.b):
            return (gr.skip(),) * len(self.shown)
        return self._show(form, self.drafting.look(form))

    def add(self, *values: Any) -> tuple[Any, ...]:
        form = _read(values)
        try:
            job = self.drafting.add(form)
        except InputError as error:
            raise gr.Error(_as_html(error.problems)) from error
        gr.Info(f"Job {job} is in line. The Jobs tab shows how it goes.", title="Added to the queue")
        return self._show(form, self.drafting.look(replace(form, name=self.drafting.free_name(form.name))))

    def _show(self, form: Form, draft: Draft) -> tuple[Any, ...]:
        chosen = bool(form.a and form.b)
        return (
            lines_value(draft.facts[0]),
            lines_value(draft.facts[1]),
            lines_value(draft.checks),
            gr.Row(visible=not chosen),
            gr.Column(visible=draft.grid is not None),
            lines_value(draft.formula),
            lines_value(draft.bar),
            gr.Button(interactive=draft.ready),
            gr.skip() if draft.name == form.name else draft.name,
        )


def _read(values: Sequence[Any]) -> Form:
    try:
        return read_form(*values)
    except JobRequestError as error:
        raise gr.Error(_as_html(error.problems)) from error


def _as_html(sentences: Sequence[str]) -> str:
    return "<br>".join(map(escape, sentences))  # Gradio shows the text of an error as HTML


def build(context: Context) -> None:
    _Page(context).connect()


TAB = Tab("Merge", 1, build)
