"""What stands on the Merge tab: the widgets, made once. What is shown of them and why is merge.py's."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from blockmerge.core.method import Method, Parameter
from blockmerge.core.methods import LINEAR, METHODS
from blockmerge.engine.devices import CPU, DEVICES, Found
from blockmerge.ui.difference.difference import DifferenceLink
from blockmerge.ui.equaliser.equaliser import Equaliser
from blockmerge.ui.finder.finder import Finder
from blockmerge.ui.forms import (
    AS_OWNER,
    BASE,
    DEFAULT_SHARD_SIZE,
    LETTERS,
    LONGEST_NAME,
    SHARD_SIZES,
    VISIBILITIES,
    parameter_key,
)
from blockmerge.ui.lines.line import lines_value
from blockmerge.ui.lines.lines import Lines
from blockmerge.ui.plan_views import box, said
from blockmerge.ui.plan_views import choose as what_to_choose
from blockmerge.ui.shapes.shapes import ShapesLink
from blockmerge.ui.turns import Turns
from blockmerge.ui.wording import say

LONGEST_PLACE = 200  # characters of ORG/NAME
PLACE = ("repository", "licence")  # boxes that are shown only for what goes to the Hub
_PRECISIONS = ("float32", "float16", "bfloat16")


class Widgets:
    """`form` has every widget that Form is read from, by the name of its field; models by their letter.

    `suggested` is the name of the result that the page gave last, `looked` the one that what is said holds for,
    `open` the letters whose empty boxes are shown.
    """

    def __init__(self, choices: Callable[[], Sequence[str]], output: object) -> None:
        self._choices = choices
        self.form: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {}
        self.facts: dict[str, Lines] = {}
        self.boxes: dict[str, gr.Column] = {}
        self.remove: dict[str, gr.Button] = {}
        self.origin, self.open, self.turns = gr.State(None), gr.State(()), gr.State(Turns())
        self.suggested, self.looked = gr.State(""), gr.State("")
        with gr.Column(elem_classes="card", elem_id="models"):
            self._models()
        with gr.Column(elem_classes="card", elem_id="weights"):
            self.grid = Equaliser(elem_id="grid")
            self.advice = Lines(elem_id="advice")
            self.formula = Lines(elem_id="formula")
            self.difference, self.measuring = DifferenceLink(), gr.Timer(1.0, active=False)
            self.shapes = ShapesLink()
        with gr.Column(elem_classes="card", elem_id="result", visible=False) as self.result:
            self._result(output)
        with gr.Row(elem_id="bar"):
            self.bar = Lines(lines_value(said(what_to_choose(("a", "b")))), elem_id="needs")
            self.save = gr.Button(say("recipes.save_this"), interactive=False, scale=0, elem_id="save-recipe")
            self.queue = gr.Button(say("merge.add"), variant="primary", interactive=False, scale=0, elem_id="queue")

    def _models(self) -> None:
        self.opened = Lines(elem_id="opened")
        with gr.Row(elem_classes="pair base", visible=False) as self.base_row:
            self._box(BASE)
        with gr.Row(elem_classes="pair"):
            self._box("a")
            self.swap = gr.Button(say("merge.swap"), elem_id="swap", scale=0, min_width=88)
            self._box("b")
        with gr.Row(elem_classes="more-models", visible=False) as self.more_row:
            for letter in LETTERS[2:]:
                self._box(letter)
        with gr.Row(elem_id="method-row"):
            self.form["method"] = gr.Dropdown(
                [(method.title, method.name) for method in METHODS.values()],
                value=LINEAR.name,
                label=say("merge.method"),
                info=LINEAR.description,
                elem_id="method",
                min_width=240,
            )
            for key, entry in every_parameter().items():
                self.parameters[key] = parameter_widget(entry)
            self.finder = Finder(elem_id="finder")
            self.add_model = gr.Button(say("merge.add_model"), scale=0, elem_id="add-model", min_width=120)
        self.form |= self.parameters
        self.checks = Lines(elem_id="checks")
        with gr.Row(elem_id="first-run") as self.first_run:
            told = f"<p><b>{escape(say('merge.first_run'))}</b> {escape(say('merge.first_run_help'))}</p>"
            gr.HTML(told, apply_default_css=False)
            self.example = gr.Button(say("merge.use_example"), variant="primary", scale=0, elem_id="example")
            self.hub_example = gr.Button(say("hub.example"), scale=0, elem_id="hub-example")

    def _box(self, key: str) -> None:
        with gr.Column(min_width=240, visible=key in (BASE, "a", "b")) as self.boxes[key]:
            self.form[key] = gr.Dropdown(
                list(self._choices()),
                value=None,
                allow_custom_value=True,
                label=box(key),
                info=say("merge.base_help" if key == BASE else "merge.model_help"),
                elem_id=f"model-{key}",
                elem_classes="model",
            )
            self.facts[key] = Lines(elem_id=f"facts-{key}")
            if key in LETTERS[2:]:
                self.remove[key] = gr.Button(
                    say("merge.remove_model", letter=key.upper()), elem_id=f"remove-{key}", scale=0
                )

    def _result(self, output: object) -> None:
        gr.HTML(f"<h2>{escape(say('merge.result'))}</h2>", apply_default_css=False)
        with gr.Row():
            self.form["name"] = gr.Textbox(
                label=say("merge.name"),
                max_length=LONGEST_NAME,
                info=say("merge.name_help", output=output),
                elem_id="name",
            )
            self.form["dtype"] = gr.Dropdown(
                precision_choices("", "a"),
                value=AS_OWNER,
                label=say("merge.precision"),
                elem_id="precision",
                info=say("merge.precision_help"),
            )
            self.form["tokenizer"] = gr.Dropdown(
                tokenizer_choices(("a", "b")),
                value="a",
                label=say("merge.tokenizer"),
                elem_id="tokenizer",
                info=say("merge.tokenizer_help"),
            )
        self.form["keeps_nothing"] = gr.Checkbox(
            label=say("merge.keeps_nothing"), info=say("merge.keeps_nothing_help"), elem_id="keeps-nothing"
        )
        with gr.Row(visible=False, elem_id="place") as self.place:
            self._place()
        with (
            gr.Accordion(more_label(DEFAULT_SHARD_SIZE, "refuse"), open=False, elem_id="more") as self.more,
            gr.Row(),
        ):
            self._more()

    def _more(self) -> None:
        self.form["shard_size"] = gr.Dropdown(
            list(SHARD_SIZES),
            value=DEFAULT_SHARD_SIZE,
            allow_custom_value=True,
            label=say("merge.shard_size"),
            info=say("merge.shard_size_help"),
            elem_id="shard-size",
        )
        self.form["nonfinite"] = gr.Dropdown(
            [(say(f"merge.nonfinite_{what}"), what) for what in ("refuse", "warn")],
            value="refuse",
            label=say("merge.nonfinite"),
            elem_id="nonfinite",
            info=say("merge.nonfinite_help"),
        )
        self.form["device"] = gr.Dropdown(
            [(say(f"merge.device_{device}"), device) for device in DEVICES],
            value=CPU,
            label=say("merge.device"),
            info=device_help(CPU, LINEAR, None),
            interactive=False,
            elem_id="device",
        )
        self.form["seed"] = gr.Textbox(
            "0",
            label=say("merge.seed"),
            info=say("merge.seed_help"),
            max_length=19,
            elem_id="seed",
            visible=False,
        )

    def _place(self) -> None:
        self.form["repository"] = gr.Textbox(
            "",
            label=say("merge.repository"),
            info=say("merge.repository_help"),
            max_length=LONGEST_PLACE,
            elem_id="repository",
        )
        self.form["visibility"] = gr.Dropdown(
            [(say(f"merge.visibility_{who}"), who) for who in VISIBILITIES],
            value=VISIBILITIES[0],
            label=say("merge.visibility"),
            info=say("merge.visibility_help"),
            elem_id="visibility",
        )
        self.form["licence"] = gr.Textbox(
            "", label=say("merge.licence"), info=say("merge.licence_help"), max_length=LONGEST_NAME, elem_id="licence"
        )


def every_parameter() -> Mapping[str, Parameter]:
    """The parameters of all methods by the key of their widget: numbers first, what all methods share last."""
    entries = [entry for method in METHODS.values() for entry in method.parameters]
    entries.sort(key=lambda entry: (isinstance(entry.default, bool), entry.name == "lambda"))
    return {parameter_key(entry): entry for entry in entries}


def parameter_widget(entry: Parameter) -> Any:
    """The control that a parameter's entry declares, hidden until its method is chosen."""
    label = entry.name.replace("_", " ").capitalize()
    what = entry.description[0].upper() + entry.description[1:]
    name = f"parameter-{parameter_key(entry).split('.', 1)[1].replace('.', '-')}"
    shared: dict[str, Any] = {"label": label, "visible": False, "elem_id": name, "min_width": 160}
    told = say("merge.parameter_help", what=what)
    if isinstance(entry.default, bool):
        return gr.Checkbox(entry.default, info=told, **shared)
    if entry.choices:
        return gr.Dropdown(list(entry.choices), value=entry.default, info=told, **shared)
    step = 1 if isinstance(entry.default, int) else 0.01
    # Its range is checked by the plan, which says it in our words.
    low, high = (f"{end:g}".replace("-", "−") for end in (entry.low, entry.high))
    told = say("merge.parameter_range", what=what, low=low, high=high)
    return gr.Number(entry.default, info=told, step=step, **shared)


def precision_choices(dtype: str, owner: str) -> list[tuple[str, str]]:
    """`owner` by its key on the page."""
    name = say("merge.the_base") if owner == BASE else owner.upper()
    same = say("merge.same_as_owner", dtype=dtype, owner=name) if dtype else say("merge.as_owner", owner=name)
    return [(same, AS_OWNER), *((name, name) for name in _PRECISIONS)]


def tokenizer_choices(keys: Sequence[str]) -> list[tuple[str, str]]:
    names = {key: say("merge.the_base") if key == BASE else key.upper() for key in keys}
    return [(say("merge.tokenizer_of", model=name), key) for key, name in names.items()]


def device_help(device: str, method: Method, found: Found | None) -> str:
    """What stands at the choice of the device: why there is none, or what it means."""
    if found is None:
        return say("merge.device_unknown")
    if not found.gpu:
        return say("merge.device_none", why=found.why)
    if not method.gains_on_gpu:
        return say("merge.device_gains_nothing", method=method.title)
    return say("merge.device_help" if device == CPU else "merge.device_used", gpu=found.gpu)


def more_label(shard_size: str, nonfinite: str, seed: str = "", device: str = CPU) -> str:
    """What is folded away, in one line."""
    more = say("merge.more", size=shard_size, nonfinite=say(f"merge.more_{nonfinite}"))
    if seed:
        more = say("merge.more_seed", more=more, seed=seed)
    return more if device == CPU else say("merge.more_gpu", more=more)


def values_of(data: Mapping[Any, Any], widgets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[widget] for name, widget in widgets.items()}
