"""The Merge tab: models, a method, a weight for each block, and the way into the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from blockmerge.checkpoints.library import EXAMPLE_PAIR
from blockmerge.core.method import WeightKind
from blockmerge.core.recipe import dump_recipe
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import InputError, JobRequestError, RunError
from blockmerge.jobs.difference import Differences, Measurement
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.ui.boundary import shown_error
from blockmerge.ui.difference.difference import advice, strip_value
from blockmerge.ui.draft import Draft, Drafting
from blockmerge.ui.equaliser.meaning import Kind
from blockmerge.ui.finder.finder import connect_finder, read_chosen, recipe_of
from blockmerge.ui.forms import BASE, LETTERS, Form, read_form
from blockmerge.ui.hub_views import asking
from blockmerge.ui.lines.line import lines_value
from blockmerge.ui.loader.loader import going, read_opening
from blockmerge.ui.mends import mended
from blockmerge.ui.models import HUB_PAIR
from blockmerge.ui.plan_views import opened, problems, reading
from blockmerge.ui.recent_models import LOOKED_AT, recent_first
from blockmerge.ui.recipe_shelf import RecipeShelf
from blockmerge.ui.shapes.shapes import connect_shapes
from blockmerge.ui.tabs import Context, Tab
from blockmerge.ui.tabs.merge_news import (
    News,
    boxes_news,
    kept_news,
    name_news,
    said_news,
    visible_models,
    without_echoes,
)
from blockmerge.ui.tabs.merge_widgets import PLACE, Widgets, precision_choices, tokenizer_choices, values_of
from blockmerge.ui.tabs.recipes import keep_recipe
from blockmerge.ui.turns import Turns
from blockmerge.ui.visitors import asking_owner, owner_of
from blockmerge.ui.wording import say

Data = Mapping[Any, Any]


class MergePage:
    """What each event does to the widgets. News holds only what changes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._library = context.library
        self.loader = context.loader
        self.differences = Differences(context.settings.home)
        self.widgets = Widgets(self.choices, context.settings.output)

    @property
    def drafting(self) -> Drafting:
        """For whoever's event is being answered: the Hub shows each person what they may see."""
        return Drafting(self._context, asking_owner())

    def choices(self) -> list[str]:
        return list(self._library.offered())

    def connect(self) -> None:
        w, form = self.widgets, self.widgets.form
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        latest = {**quick, "trigger_mode": "always_last"}  # by default Gradio drops an event while one is answered
        inputs = {*form.values(), w.grid, w.origin, w.suggested, w.open, w.turns}
        everything = [w.grid, *form.values(), *self._said(), *self._model_parts()]
        models = [form[key] for key in (BASE, *LETTERS)]
        gr.on(None, self.offer, outputs=models, **quick)
        chosen = gr.on([*(model.input for model in models), form["method"].input], self.ask, inputs, w.checks, **latest)
        chosen.then(self.choose, inputs, everything, **latest)
        w.example.click(partial(self.use_pair, EXAMPLE_PAIR), inputs, everything, **quick)
        asked = w.hub_example.click(lambda: lines_value(asking(HUB_PAIR)), None, w.checks, **quick)
        asked.then(partial(self.use_pair, HUB_PAIR), inputs, everything, **quick)
        w.finder.use(self.use_found, inputs, everything, trigger_mode="multiple", **quick)
        w.swap.click(self.swap_models, inputs, everything, **quick)
        w.add_model.click(self.open_box, inputs, everything, **quick)
        for letter, button in w.remove.items():
            button.click(self._closing(letter), inputs, everything, **quick)
        # Gradio may keep to itself the first input in a box that was hidden, so these are heard by what comes of it.
        hidden = (*PLACE, "device")
        others = [form[name].input for name in form if name not in (BASE, *LETTERS, "method", "name", *hidden)]
        written = [form[name].change for name in hidden]
        gr.on([w.grid.input, *others, *written], self.edit, inputs, self._said(), **latest)
        w.more.expand(self.edit, inputs, self._said(), **latest)  # a worker may have said meanwhile which GPU it has
        form["name"].change(self.rename, inputs | {w.looked}, self._said(), **latest)
        self.loader.opened(self.open_recipe, inputs, everything, trigger_mode="multiple", **quick)
        measured = [w.difference, w.advice, w.measuring]
        w.difference.measure(self.measure, inputs, measured, **quick)
        w.measuring.tick(self.look_apart, inputs, measured, **quick)
        # Queued, as Gradio has no way to show what gr.Info says of a call that is not.
        w.queue.click(self.add, inputs, [*self._said()], **{**quick, "queue": True})
        for lines in (w.checks, w.bar):
            lines.mend(self.mend, inputs, everything, **quick)
        w.save.click(self.save, inputs, None, **{**quick, "queue": True})

    def _said(self) -> list[Any]:
        w = self.widgets
        told = [w.checks, w.first_run, w.result, w.formula, w.bar, w.queue, w.save, w.more, w.place]
        told += [w.form["name"], w.form["device"]]
        return [*told, w.suggested, w.looked, w.origin, self.loader]

    def _model_parts(self) -> list[Any]:
        w = self.widgets
        parts = [w.difference, w.advice, w.measuring, w.opened, w.open, w.base_row, w.more_row, w.swap, w.add_model]
        return [*parts, *w.boxes.values(), *w.facts.values()]

    def offer(self, request: gr.Request) -> tuple[Any, ...]:
        settings, owner = self._context.settings, owner_of(request)
        jobs = OwnJobs(self._context.store, settings, owner).page(limit=LOOKED_AT).jobs
        choices = recent_first(self._library.offered(), jobs, RecipeShelf(settings.home, owner).recipes())
        return (gr.Dropdown(choices=list(choices)),) * (1 + len(LETTERS))

    def ask(self, data: Data) -> Any:
        """The Hub may take its time to answer, and so may a file, so what is waited for is said before."""
        references = self._read(data).references.values()
        of_the_hub = self.drafting.models.of_the_hub(references)
        slow = [name for name in references if name and self._library.takes_seconds(name)]
        told = [*(asking(of_the_hub) if of_the_hub else ()), *(reading(slow) if slow else ())]
        return lines_value(told) if told else gr.skip()

    def choose(self, data: Data) -> News:
        """Other models or another method: the grid is drawn anew."""
        return self._choose_others(data, self._read(data))

    def use_pair(self, pair: tuple[str, str], data: Data) -> News:
        form, (a, b) = self._read(data), pair
        models = {**form.models, "a": a, "b": b}
        fields = self.widgets.form
        return self._choose_others(data, replace(form, models=models)) | {fields["a"]: a, fields["b"]: b}

    def use_found(self, data: Data, event: gr.EventData) -> News:
        """A model that was found on the Hub goes to a box."""
        form = self._read(data)
        try:
            found = read_chosen(event._data)
        except JobRequestError as error:
            raise shown_error(error.problems) from error
        chosen = replace(form, models={**form.models, found.key: found.name})
        return self._choose_others(data, chosen) | {self.widgets.form[found.key]: found.name}

    def swap_models(self, data: Data) -> News:
        form, fields = self._read(data), self.widgets.form
        a, b = form.models["b"], form.models["a"]
        swapped = replace(form, models={**form.models, "a": a, "b": b})
        return self._choose_others(data, swapped) | {fields["a"]: a or None, fields["b"]: b or None}

    def open_box(self, data: Data) -> News:
        form, already = self._read(data), data[self.widgets.open]
        free = [key for key in LETTERS[: form.entry.most_models] if key not in visible_models(form, already)]
        return boxes_news(self.widgets, form, (*already, *free[:1]))

    def _closing(self, letter: str) -> Any:
        def close_box(data: Data) -> News:
            form = self._read(data)
            left = tuple(key for key in data[self.widgets.open] if key != letter)
            without = replace(form, models={**form.models, letter: ""})
            return self._choose_others(data, without, left) | {self.widgets.form[letter]: None}

        return close_box

    def edit(self, data: Data) -> Any:
        """Other weights or settings: everything that is said follows, the grid is the person's own."""
        form = self._read(data)
        if not all(form.references.values()):
            return {self.widgets.origin: form.origin}
        turns: Turns = data[self.widgets.turns]
        turn = turns.take()
        news = self._say(form, self.drafting.look(form))
        # What came meanwhile saw more, and tells all of this as well. No news at all would be an error to Gradio.
        return news if turns.is_last(turn) else gr.skip()

    def rename(self, data: Data) -> Any:
        """Another name; one that the page has looked at comes from the page itself."""
        w = self.widgets
        return gr.skip() if data[w.form["name"]] == data[w.looked] else self.edit(data)

    def open_recipe(self, data: Data, event: gr.EventData) -> News:
        """A recipe from a job, a file, a link or before a reload takes the place of what is shown."""
        w = self.widgets
        try:
            told = read_opening(event._data, lambda address: recipe_of(self.drafting.models, {"name": address}))
            form = self.drafting.fill(told)
        except (InputError, RunError) as error:
            told_why = lines_value(problems(say("merge.not_shown"), error.problems))
            return {w.opened: told_why, self.loader: going("merge")}
        news = self._choose(data, form, ()) | {w.opened: lines_value(opened(told.name, told.again))}
        fields = {name: getattr(form, name) for name in ("shard_size", "nonfinite")}
        fields |= {key: {**form.models, BASE: form.base}.get(key) or None for key in (BASE, *LETTERS)}
        news |= {w.form[name]: value for name, value in fields.items()}
        news[w.form["seed"]] = gr.Textbox(value=form.seed, visible=form.entry.is_random)
        news.setdefault(w.form["dtype"], form.dtype)
        if form.name:  # as it was told, so that what is said of it names no other
            news |= name_news(w, form.name)
        if not told.again:
            news[self.loader] = going("merge") | news.get(self.loader, {})
        return news

    def add(self, data: Data, request: gr.Request) -> News:
        form = self._read(data)
        try:
            job = self.drafting.add(form, owner_of(request))
        except InputError as error:
            raise shown_error(error.problems) from error
        gr.Info(say("merge.in_line", job=job), title=say("merge.added"))
        data[self.widgets.turns].take()
        return self._say(form, self.drafting.look(replace(form, name=self.drafting.free_name(form.name))))

    def mend(self, data: Data, event: gr.EventData) -> News:
        """What the button beside a problem asks."""
        before, w = self._read(data), self.widgets
        try:
            match event._data:
                case {"do": "name"}:
                    form = replace(before, name=self.drafting.other_name(before.name))
                case {"do": str(what)}:
                    form = mended(before, what)
                case _:
                    raise JobRequestError(say("merge.wrong_request"))
        except JobRequestError as error:
            raise shown_error(error.problems) from error
        news = self._choose(data, form, data[w.open])
        if form.name != before.name:
            news |= name_news(w, form.name)
        return news if form.grid == before.grid else news | {w.grid: form.grid}

    def save(self, data: Data, request: gr.Request) -> None:
        draft = self.drafting.look(self._read(data))
        try:
            if draft.plan is None or draft.recipe is None:
                raise JobRequestError(say("recipes.nothing_there"))
            kept = keep_recipe(self._context, owner_of(request), draft.name, dump_recipe(draft.recipe))
        except (InputError, RunError) as error:
            raise shown_error(error.problems) from error
        gr.Info(escape(say("recipes.saved_from_job", name=kept.name)), title=say("recipes.saved_title"))

    def measure(self, data: Data) -> Any:
        """Begin to measure how far the two models are apart."""
        draft = self.drafting.look(self._read(data))
        if draft.plan is None or len(draft.plan.checkpoints) != 2:
            return gr.skip()
        pair = self._here(draft)
        if len(pair) != 2:
            return {self.widgets.difference: strip_value(Measurement(problem=say("hub.not_here")))}
        try:
            self.differences.measure(*pair)
        except JobRequestError as error:
            return {self.widgets.difference: strip_value(Measurement(problem=str(error)))}
        return self._apart(draft)

    def _here(self, draft: Draft) -> Sequence[Checkpoint]:
        """The models whose weights are on this machine, and not on the Hub alone."""
        found = map(self.drafting.models.here, draft.plan.checkpoints.values()) if draft.plan else ()
        return [held for held in found if held is not None]

    def look_apart(self, data: Data) -> News:
        return self._apart(self.drafting.look(self._read(data)))

    def _apart(self, draft: Draft) -> News:
        """How far the two are apart, as far as that was measured."""
        w = self.widgets
        pair = self._here(draft)
        found = self.differences.look(*pair) if len(pair) == 2 else None
        difference = found.difference if found else None
        return {
            w.difference: strip_value(found),
            w.advice: lines_value(advice(difference) if difference else ()),
            w.measuring: gr.Timer(active=found is not None and found.is_running),
        }

    def _choose_others(self, data: Data, form: Form, already: Sequence[str] | None = None) -> News:
        """The name follows the models, unless a person typed it."""
        w = self.widgets
        followed = replace(form, name="") if form.name == data[w.suggested] else form
        return self._choose(data, followed, data[w.open] if already is None else already)

    def _choose(self, data: Data, form: Form, already: Sequence[str]) -> News:
        w = self.widgets
        data[w.turns].take()
        form = _with_normalize(form)
        draft = self.drafting.look(form)
        news = boxes_news(w, form, already) | self._say(form, draft) | self._apart(draft) | {w.grid: draft.grid}
        news |= {lines: lines_value(draft.facts.get(key, ())) for key, lines in w.facts.items()}
        keys = tuple(form.references)
        tokenizer = form.tokenizer if form.tokenizer in keys else "a"
        news[w.form["tokenizer"]] = gr.update(choices=tokenizer_choices(keys), value=tokenizer)
        if draft.plan:
            dtype = draft.plan.checkpoints[draft.plan.owner].dtype.label
            news[w.form["dtype"]] = gr.update(choices=precision_choices(dtype, keys[0]), value=form.dtype)
        news[w.form["device"]] |= {"value": form.device}
        return without_echoes(news, data)

    def _say(self, form: Form, draft: Draft) -> News:
        return said_news(self.widgets, form, draft) | kept_news(self.loader, draft, form.device)

    def _read(self, data: Data) -> Form:
        w = self.widgets
        try:
            return read_form(values_of(data, w.form), data[w.grid], data[w.origin])
        except JobRequestError as error:
            raise shown_error(error.problems) from error


def _with_normalize(form: Form) -> Form:
    """Shares of more than two models are scaled to a sum of 1 from the moment that there are so many."""
    models = len(form.references) - (BASE in form.references)
    was_a_pair = form.grid is not None and form.grid.meaning.kind is Kind.SHARE
    if models > 2 and was_a_pair and form.entry.kind is WeightKind.SHARE:
        return replace(form, parameters={**form.parameters, "normalize": True})
    return form


def build(context: Context) -> None:
    page = MergePage(context)
    page.connect()
    connect_finder(page.widgets.finder, context)
    connect_shapes(page.widgets.shapes, context.settings.home)


TAB = Tab(say("merge.tab"), 1, build)
