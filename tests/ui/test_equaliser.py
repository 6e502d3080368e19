"""The slider grid in a real Chromium: what a person does, and the Grid that Python then receives."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Locator, Page, expect

import blockmerge.ui
from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.core.shapes import Shape, load_presets, sample
from blockmerge.ui.equaliser.equaliser import Equaliser
from blockmerge.ui.equaliser.grid import Grid, grid_value, new_grid
from blockmerge.ui.equaliser.meaning import Meaning
from blockmerge.ui.theme import page_theme
from tests.ui.conftest import serving, wait_until

pytestmark = pytest.mark.browser

LANES = ("attention", "mlp", "norm")
ROWS = ("embeddings", "final_norm", "head")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LAYERS = ("layers", "layers")


def flat(depth: int, a: str = "mistral", b: str = "zephyr") -> Grid:
    return new_grid(Meaning(a, b), Blocks((StackBlocks("layers", depth, LANES, ()),), ROWS))


def rising(depth: int = 32) -> Grid:
    line = sample(load_presets()["rise"].shape, depth)
    return replace(flat(depth), lines={LAYERS: line}, shape="Rise")


T5 = Blocks(
    (StackBlocks("encoder", 12, LANES, ("final_norm",)), StackBlocks("decoder", 24, LANES, ("final_norm",))),
    ("embeddings", "head"),
)


@dataclass
class Stage:
    """A page with nothing but an equaliser: `grid` is what it shows when loaded, `received` what Python was told."""

    port: int = 0
    grid: Grid | None = None
    received: list[Grid | None] = field(default_factory=list)

    @property
    def last(self) -> Grid:
        grid = self.received[-1]
        assert grid is not None
        return grid

    @property
    def line(self) -> tuple[float, ...]:
        return self.last.lines[LAYERS]

    def wait_for_inputs(self, count: int) -> None:
        wait_until(lambda: len(self.received) >= count)
        assert len(self.received) == count


def build_stage(stage: Stage) -> FastAPI:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with gr.Blocks() as blocks:
        with gr.Column(elem_classes="card"):
            equaliser = Equaliser(elem_id="eq")
        give = gr.Button("Give")
        equaliser.input(
            stage.received.append,
            equaliser,
            None,
            queue=False,
            show_progress="hidden",
            trigger_mode="multiple",  # every event counts here
            api_name="told",
        )
        for event in (blocks.load, give.click):
            event(lambda: stage.grid, None, equaliser, queue=False, show_progress="hidden", api_visibility="private")
    folder = Path(blockmerge.ui.__file__).parent
    return gr.mount_gradio_app(
        FastAPI(),
        blocks,
        path="/",
        theme=page_theme(),
        css_paths=[folder / "tokens.css", folder / "page.css"],
        ssr_mode=False,
        show_error=True,
        run_history=False,  # as in web.py; it would write every call into the browser's storage
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    stage = Stage()
    with serving(lambda: build_stage(stage)) as port:
        stage.port = port
        yield stage


@pytest.fixture
def stage(served: Stage) -> Stage:
    served.grid = None
    served.received.clear()
    return served


Show = Callable[..., Page]


@pytest.fixture
def show(browser: Browser, stage: Stage) -> Iterator[Show]:
    """Open the page on a grid; an error in the page's scripts fails the test."""
    contexts, errors = [], []

    def open_page(grid: Grid | None, **options: object) -> Page:
        stage.grid = grid
        context = browser.new_context(**{"viewport": DESK, **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(f"http://127.0.0.1:{stage.port}/")
        page.wait_for_selector(".equaliser[data-ready]")
        if grid is not None:
            page.wait_for_selector(".lane [data-layer]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def bar(page: Page, layer: int, track: int = 0) -> Locator:
    return page.locator(f".lane[data-track='{track}'] [data-layer='{layer}']")


def point(page: Page, layer: int, weight: float, track: int = 0) -> tuple[float, float]:
    """Where on the page the middle of a layer's column has this weight."""
    column, lane = bar(page, layer, track).bounding_box(), page.locator(f".lane[data-track='{track}']").bounding_box()
    assert column is not None
    assert lane is not None
    return column["x"] + column["width"] / 2, lane["y"] + lane["height"] * (1 - weight)


def stroke(page: Page, *points: tuple[int, float], track: int = 0) -> None:
    page.mouse.move(*point(page, *points[0], track))
    page.mouse.down()
    for layer, weight in points[1:]:
        page.mouse.move(*point(page, layer, weight, track), steps=4)
    page.mouse.up()


def near(*weights: float) -> object:
    return pytest.approx(weights, abs=0.006)  # a pixel of 224


def act(page: Page, name: str) -> Locator:
    return page.locator(f"[data-act={name}]:visible").first


def test_without_a_pair_there_is_a_ghost(show: Show, stage: Stage) -> None:
    page = show(None)

    ghost = page.get_by_text("One bar per layer appears here once models are chosen that fit each other.")
    expect(ghost).to_be_visible()
    expect(page.get_by_role("spinbutton")).to_have_count(0)

    stage.grid = flat(4)
    page.get_by_role("button", name="Give").click()
    expect(page.get_by_role("spinbutton")).to_have_count(4)

    stage.grid = None
    page.get_by_role("button", name="Give").click()
    expect(page.get_by_text("One bar per layer appears here")).to_be_visible()
    assert stage.received == []


def test_a_stroke_paints_every_layer_it_crosses_and_is_told_once(show: Show, stage: Stage) -> None:
    page = show(flat(32))

    stroke(page, (4, 0.2), (8, 0.6))

    stage.wait_for_inputs(1)
    assert stage.line[4:9] == near(0.2, 0.3, 0.4, 0.5, 0.6)
    assert stage.line[:4] + stage.line[9:] == (0.5,) * 27
    assert stage.last.shape == "Flat 0.50, edited"


def test_a_click_sets_a_bar_and_the_edges_snap_to_all_a_and_all_b(show: Show, stage: Stage) -> None:
    page = show(flat(32))

    page.mouse.click(*point(page, 3, 0.012))
    page.mouse.click(*point(page, 5, 0.99))
    page.mouse.click(*point(page, 7, 0.7))

    stage.wait_for_inputs(3)
    assert (stage.line[3], stage.line[5]) == (0.0, 1.0)
    assert stage.line[7] == pytest.approx(0.7, abs=0.006)
    expect(bar(page, 3)).to_have_text("A")
    expect(bar(page, 5)).to_have_text("B")


def test_a_click_that_changes_nothing_is_not_told(show: Show, stage: Stage) -> None:
    page = show(replace(flat(32), lines={LAYERS: (1.0,) * 32}, shape="All B"))

    page.mouse.click(*point(page, 3, 0.99))
    page.mouse.click(*point(page, 4, 0.5))

    stage.wait_for_inputs(1)
    assert stage.line[3] == 1.0


def test_shift_drag_draws_a_straight_line(show: Show, stage: Stage) -> None:
    page = show(flat(32))

    page.keyboard.down("Shift")
    stroke(page, (10, 0.1), (15, 0.9), (14, 0.5))
    page.keyboard.up("Shift")

    stage.wait_for_inputs(1)
    assert stage.line[10:16] == near(0.1, 0.2, 0.3, 0.4, 0.5, 0.5)


def test_the_readout_says_the_share_of_both_models(show: Show) -> None:
    page = show(rising(32))

    bar(page, 12).focus()
    page.mouse.click(*point(page, 12, 0.39))

    readout = page.locator(".readout")
    expect(readout).to_contain_text(re.compile("Layer 12.*39 % zephyr, 61 % mistral"))
    expect(bar(page, 12)).to_have_attribute("aria-valuetext", "Layer 12, 39 percent zephyr")


def test_a_typed_value_is_kept_and_shown_in_every_view(show: Show, stage: Stage) -> None:
    page = show(flat(32))
    field = page.get_by_role("textbox", name="Weight of layer 0")

    field.fill("0,387")
    field.press("Enter")

    stage.wait_for_inputs(1)
    assert stage.line[0] == 0.387
    expect(bar(page, 1)).to_be_focused()
    expect(bar(page, 0)).to_have_attribute("aria-valuenow", "0.387")
    page.get_by_role("radio", name="Table").click()
    expect(page.get_by_role("textbox", name="Layer 0, share of zephyr")).to_have_value("0.387")
    page.get_by_role("radio", name="Text").click()
    expect(page.get_by_role("textbox", name="Weights as text")).to_have_value(re.compile(r"^0-7: 0\.387, 0\.5,"))
    page.get_by_role("radio", name="Sliders").click()
    expect(page.get_by_role("slider", name="Layer 0", exact=True)).to_have_attribute(
        "aria-valuetext", "39 percent zephyr"
    )


def test_what_is_no_weight_is_not_taken(show: Show, stage: Stage) -> None:
    page = show(flat(4))
    field = page.get_by_role("textbox", name="Weight of layer 0")

    for typed, sentence in {
        "half": "“half” is not a number. Type a weight such as 0.5.",
        "1.2": "A weight is from 0 to 1 here. Allow beyond 0–1 to go further.",
        "": "“” is not a number.",
    }.items():
        field.fill(typed)
        field.press("Enter")

        expect(page.locator(".hint")).to_contain_text(sentence)
        expect(field).to_have_attribute("aria-invalid", "true")
        field.press("Escape")
        expect(field).to_have_value("0.500")
        expect(bar(page, 0)).to_be_focused()
    assert stage.received == []


KEYS: list[tuple[list[str], float]] = [
    (["ArrowUp"], 0.51),
    (["ArrowDown"], 0.49),
    (["Shift+ArrowUp"], 0.55),
    (["Shift+ArrowDown"], 0.45),
    (["PageUp"], 0.6),
    (["PageDown"], 0.4),
    (["Home"], 0.0),
    (["End"], 1.0),
    (["PageUp", "End", "ArrowUp"], 1.0),
    ([*".25", "Enter"], 0.25),
    ([*"0.7", "Backspace", "8", "Enter"], 0.8),
]


def test_keys_set_the_focused_bar(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    for keys, weight in KEYS:
        bar(page, 0).focus()
        page.keyboard.press("Control+Home")
        page.keyboard.press("ArrowRight")
        for key in keys:
            page.keyboard.press(key)

        wait_until(lambda weight=weight: bool(stage.received) and stage.line == (0.5, weight, 0.5, 0.5))
        page.keyboard.press("Control+z")
        wait_until(lambda: stage.last == flat(4))


def test_keys_walk_over_the_bars_with_one_tab_stop(show: Show, stage: Stage) -> None:
    page = show(flat(32))
    stops = page.locator(".bar[tabindex='0']")

    bar(page, 0).focus()
    for key, layer in [("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 0), ("Control+End", 31), ("Control+Home", 0)]:
        page.keyboard.press(key)
        expect(bar(page, layer)).to_be_focused()
        expect(stops).to_have_count(1)
    page.keyboard.press("5")
    page.keyboard.press("Escape")

    expect(bar(page, 0)).to_be_focused()
    assert stage.received == []


def test_twenty_quick_keys_are_told_once(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    bar(page, 0).focus()
    page.evaluate(
        """() => { for (let i = 0; i < 20; i++)
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true })) }"""
    )

    stage.wait_for_inputs(1)
    assert stage.line[0] == 0.7


def test_undo_and_redo_walk_through_the_steps(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    for layer in range(3):
        page.mouse.click(*point(page, layer, 0.01))
    act(page, "undo").click()
    page.keyboard.press("Control+z")
    stage.wait_for_inputs(5)
    assert stage.line == (0.0, 0.5, 0.5, 0.5)

    act(page, "redo").click()
    bar(page, 0).focus()
    page.keyboard.press("Control+y")
    stage.wait_for_inputs(7)
    assert stage.line == (0.0, 0.0, 0.0, 0.5)
    expect(act(page, "redo")).to_be_disabled()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("End")
    expect(act(page, "redo")).to_be_disabled()


def test_a_hundred_steps_are_kept(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    bar(page, 0).focus()
    page.evaluate(
        """() => { const bar = document.activeElement;
        for (let step = 0; step < 103; step++) {
            bar.dispatchEvent(new KeyboardEvent("keydown", { key: step % 2 ? "Home" : "End", bubbles: true }));
            bar.dispatchEvent(new FocusEvent("focusout", { bubbles: true }));
        }
        for (let step = 0; step < 100; step++) document.querySelector("[data-act=undo]").click(); }"""
    )

    expect(act(page, "undo")).to_be_disabled()
    expect(bar(page, 0)).to_have_attribute("aria-valuenow", "1")  # the first three are forgotten
    wait_until(lambda: len(stage.received) == 203, 60)  # or they would be told to the next test


def test_reset_gives_half_of_each_and_can_be_undone(show: Show, stage: Stage) -> None:
    grid = replace(rising(4), rows={(None, "embeddings"): 0.1, (None, "final_norm"): None, (None, "head"): 0.2})
    page = show(grid)

    act(page, "reset").click()
    stage.wait_for_inputs(1)
    assert stage.last == flat(4)

    act(page, "undo").click()
    stage.wait_for_inputs(2)
    assert stage.last == grid


@pytest.mark.parametrize("depth", [1, 30, 80])
def test_presets_are_what_the_core_samples(show: Show, stage: Stage, depth: int) -> None:
    page = show(flat(depth))
    settings = [(100, False), (80, False), (37, True)]

    for number, (name, preset) in enumerate(load_presets().items()):
        strength, flip = settings[number % 3]
        act(page, "shape").click()
        page.get_by_role("radiogroup", name="Shape").get_by_role("radio").nth(number).click()
        page.get_by_role("slider", name="Strength").fill(str(strength))
        page.get_by_role("checkbox", name="Flip").set_checked(flip)
        told = len(stage.received)
        act(page, "apply-shape").click()
        with suppress(AssertionError):  # flat shapes may give the weights and the label that are there
            wait_until(lambda told=told: len(stage.received) > told, 2)

        wanted = sample(replace(preset.shape, strength=strength / 100, flip=flip), depth)
        assert stage.line == wanted, name


def test_rounding_in_the_browser_is_the_rounding_of_the_core(show: Show, stage: Stage) -> None:
    """Odd sixteenths lie exactly between two thousandths: Python takes the even one."""
    page = show(flat(17))

    act(page, "shape").click()
    act(page, "anchors").fill("0, 1")
    act(page, "apply-shape").click()

    stage.wait_for_inputs(1)
    assert stage.line == sample(Shape((0.0, 1.0)), 17)
    assert stage.line[1] == 0.062
    assert stage.last.shape == "Anchors 0, 1"


def test_a_shape_is_drawn_at_once_and_cancel_brings_back_what_was_there(show: Show, stage: Stage) -> None:
    page = show(rising(32))

    act(page, "shape").click()
    page.locator("[data-shape=Middle]").click()
    expect(bar(page, 31)).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("Escape")

    expect(bar(page, 31)).to_have_attribute("aria-valuenow", "1")
    expect(act(page, "shape")).to_have_text("Rise")
    expect(act(page, "shape")).to_be_focused()
    assert stage.received == []


def test_thumbnails_have_one_step_per_layer(show: Show) -> None:
    page = show(flat(80))

    act(page, "shape").click()

    expect(page.locator("[data-shape=Rise] svg")).to_have_attribute("viewBox", "0 0 80 1")


def test_rows_follow_their_end_layer_until_they_are_set(show: Show, stage: Stage) -> None:
    page = show(rising(32))
    embeddings, head = page.locator("[data-row=embeddings]"), page.locator("[data-row=head]")
    expect(embeddings).to_contain_text("follows layer 0")
    expect(head.get_by_role("textbox")).to_have_value("1.00")

    page.mouse.click(*point(page, 31, 0.01))
    expect(head.get_by_role("textbox")).to_have_value("0.00")
    head.get_by_role("checkbox").uncheck()
    head.get_by_role("textbox").fill("0.3")
    head.get_by_role("textbox").press("Enter")

    stage.wait_for_inputs(3)
    assert stage.last.rows == {(None, "embeddings"): None, (None, "final_norm"): None, (None, "head"): 0.3}
    head.get_by_role("checkbox").check()
    expect(head.get_by_role("textbox")).to_have_value("0.00")
    stage.wait_for_inputs(4)
    assert stage.last.rows[None, "head"] is None


def test_rows_of_several_stacks_follow_their_own(show: Show) -> None:
    page = show(new_grid(Meaning("t5", "flan"), T5))

    for row, followed in {
        "encoder.final_norm": "follows encoder, layer 11",
        "decoder.final_norm": "follows decoder, layer 23",
        "embeddings": "follows encoder, layer 0",
        "head": "follows decoder, layer 23",
    }.items():
        expect(page.locator(f"[data-row='{row}']")).to_contain_text(followed)


HOSTILE = [
    "<img src=x onerror=window.pwn=1>",
    "${Object.assign(window,{pwn:1})}",
    "{{value}}{{#each x}}",
    "`${1}`\"'<script>pwn=1</script>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(show: Show, name: str) -> None:
    blocks = Blocks((StackBlocks(name, 3, LANES, ("head",)), StackBlocks("decoder", 2, LANES, ())), ("embeddings",))
    page = show(replace(new_grid(Meaning(name, f"{name} b"), blocks), shape=name))

    expect(page.locator(".readout")).to_contain_text(f"50 % {name} b, 50 % {name}")
    expect(act(page, "shape")).to_have_text(name)
    for view in ("Table", "Text", "Sliders", "Bars"):
        page.get_by_role("radio", name=view).click()
    page.get_by_role("radio", name="Each module").click()
    act(page, "shape").click()
    assert page.evaluate("window.pwn") is None
    expect(page.locator("#eq img, #eq script")).to_have_count(0)


@pytest.mark.parametrize("depth", [1, 200])
def test_one_and_two_hundred_layers_are_shown_and_painted(show: Show, stage: Stage, depth: int) -> None:
    page = show(flat(depth))
    expect(page.get_by_role("spinbutton")).to_have_count(depth)

    stroke(page, (0, 0.25), (depth - 1, 0.75))

    stage.wait_for_inputs(1)
    assert stage.line[-1] == pytest.approx(0.75, abs=0.006)
    assert len(set(stage.line)) == depth or depth == 200  # 200 steps in half the height have to share some weights
    assert all(left <= right for left, right in zip(stage.line, stage.line[1:], strict=False))


def test_what_python_sets_is_drawn_and_can_be_undone(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    stage.grid = replace(flat(4), lines={LAYERS: (0.1, 0.2, 0.3, 0.4)}, shape="From a recipe")
    page.get_by_role("button", name="Give").click()
    expect(bar(page, 3)).to_have_attribute("aria-valuenow", "0.4")
    expect(act(page, "shape")).to_have_text("From a recipe")

    act(page, "undo").click()
    stage.wait_for_inputs(1)
    assert stage.last == flat(4)
    stage.grid = flat(6, b="other")
    page.get_by_role("button", name="Give").click()
    expect(page.get_by_role("spinbutton")).to_have_count(6)
    expect(act(page, "undo")).to_be_disabled()
    expect(bar(page, 0)).to_have_attribute("aria-valuetext", "Layer 0, 50 percent other")


def test_an_echo_from_python_leaves_history_and_selection_alone(show: Show, stage: Stage) -> None:
    page = show(flat(4))
    page.mouse.click(*point(page, 1, 0.01))
    stage.wait_for_inputs(1)
    page.keyboard.press("Shift+ArrowRight")

    stage.grid = stage.last
    page.get_by_role("button", name="Give").click()
    page.wait_for_timeout(300)

    expect(act(page, "undo")).to_be_enabled()
    expect(page.get_by_role("toolbar", name="Edit the selection")).to_contain_text("Layers 1–2")


def select(page: Page, first: int, last: int) -> None:
    bar(page, 0).focus()
    page.keyboard.press("Control+Home")
    for _ in range(first):
        page.keyboard.press("ArrowRight")
    for _ in range(last - first):
        page.keyboard.press("Shift+ArrowRight")


BULK = {
    "set": (0.0, 0.5, 0.5, 0.5, 0.5, 1.0),
    "times": (0.0, 0.1, 0.2, 0.4, 0.3, 1.0),
    "minus": (0.0, 0.15, 0.35, 0.75, 0.55, 1.0),
    "plus": (0.0, 0.25, 0.45, 0.85, 0.65, 1.0),
    "line": (0.0, 0.2, 0.333, 0.467, 0.6, 1.0),
    "smooth": (0.0, 0.2, 0.45, 0.65, 0.75, 1.0),
    "mirror": (0.0, 0.6, 0.8, 0.4, 0.2, 1.0),
}


def test_a_selection_is_edited_as_one(show: Show, stage: Stage) -> None:
    grid = replace(flat(6), lines={LAYERS: (0.0, 0.2, 0.4, 0.8, 0.6, 1.0)})
    page = show(grid)

    select(page, 1, 4)
    for name, wanted in BULK.items():
        act(page, name).click()
        wait_until(lambda wanted=wanted: bool(stage.received) and stage.line == wanted)
        act(page, "undo").click()
        wait_until(lambda: stage.last == grid)
    act(page, "clear").click()
    expect(page.get_by_role("toolbar", name="Edit the selection")).to_be_hidden()


def test_selecting_moves_nothing_on_the_page(show: Show) -> None:
    page = show(flat(32))
    before = page.locator(".lane").bounding_box()

    select(page, 1, 4)
    page.wait_for_selector(".bulk:visible")

    assert page.locator(".lane").bounding_box() == before


def test_shift_click_selects_from_the_focus_and_alt_drag_moves_it(show: Show, stage: Stage) -> None:
    page = show(rising(33))

    bar(page, 4).focus()
    select(page, 4, 4)
    page.keyboard.down("Shift")
    page.mouse.click(*point(page, 8, 0.5))
    page.keyboard.up("Shift")
    expect(page.get_by_role("toolbar", name="Edit the selection")).to_contain_text("Layers 4–8")
    page.keyboard.down("Alt")
    stroke(page, (6, 0.2), (6, 0.5))
    page.keyboard.up("Alt")

    stage.wait_for_inputs(1)
    assert stage.line[4:9] == near(0.425, 0.456, 0.488, 0.519, 0.55)


def test_keys_act_on_the_whole_selection(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    bar(page, 0).focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("PageUp")
    stage.wait_for_inputs(1)
    assert stage.line == (0.6,) * 4

    page.keyboard.type("0.25")
    page.keyboard.press("Enter")
    stage.wait_for_inputs(2)
    assert stage.line == (0.25,) * 4
    page.keyboard.press("Escape")
    expect(page.get_by_role("toolbar", name="Edit the selection")).to_be_hidden()


def test_letters_draw_smooth_and_mirror(show: Show, stage: Stage) -> None:
    page = show(replace(flat(4), lines={LAYERS: (0.0, 0.9, 0.1, 0.3)}))

    select(page, 0, 3)
    page.keyboard.press("l")
    stage.wait_for_inputs(1)
    assert stage.line == (0.0, 0.1, 0.2, 0.3)
    page.keyboard.press("m")
    page.keyboard.press("s")
    stage.wait_for_inputs(3)
    assert stage.line == (0.275, 0.2, 0.1, 0.025)


def test_linked_modules_move_together_and_a_chain_takes_one_out(show: Show, stage: Stage) -> None:
    page = show(flat(8))

    page.get_by_role("radio", name="Each module").click()
    expect(page.locator(".lane")).to_have_count(3)
    page.mouse.click(*point(page, 2, 0.99, track=1))
    stage.wait_for_inputs(1)
    assert set(stage.last.lines) == {LAYERS}
    expect(bar(page, 2, track=2)).to_have_text("B")

    page.get_by_role("button", name="Give Attention a line of its own").click()
    expect(page.get_by_role("button", name="Link Attention to the common line")).to_be_focused()
    page.mouse.click(*point(page, 2, 0.01, track=0))
    stage.wait_for_inputs(3)
    assert stage.last.lines["layers", "attention"][2] == 0.0
    assert stage.line[2] == 1.0
    expect(page.locator(".where").last).to_have_text("Attention, layer 2")
    expect(bar(page, 2)).to_have_attribute("aria-valuetext", "Attention, layer 2, 0 percent zephyr")

    page.get_by_role("button", name="Link Attention to the common line").click()
    stage.wait_for_inputs(4)
    assert set(stage.last.lines) == {LAYERS}
    act(page, "undo").click()
    page.get_by_role("radio", name="All modules").click()
    stage.wait_for_inputs(6)
    assert set(stage.last.lines) == {LAYERS}
    expect(page.locator(".lane")).to_have_count(1)


def test_lanes_that_python_gives_are_shown(show: Show) -> None:
    page = show(replace(flat(8), lines={LAYERS: (0.5,) * 8, ("layers", "mlp"): (1.0,) * 8}))

    expect(page.get_by_role("radio", name="Each module")).to_be_checked()
    expect(bar(page, 0, track=1)).to_have_text("B")


def test_alt_arrows_change_the_lane_and_the_stack(show: Show, stage: Stage) -> None:
    page = show(new_grid(Meaning("t5", "flan"), T5))

    bar(page, 0, track=1).focus()
    page.mouse.click(*point(page, 20, 0.5, track=1))
    page.keyboard.press("Alt+ArrowUp")
    expect(bar(page, 11, track=0)).to_be_focused()
    page.keyboard.press("End")

    stage.wait_for_inputs(1)
    assert stage.last.lines["encoder", "layers"][11] == 1.0
    assert stage.last.lines["decoder", "layers"] == (0.5,) * 24
    expect(page.locator(".readout .where")).to_have_text("encoder, layer 11")


def test_a_shape_goes_into_every_line_or_only_one(show: Show, stage: Stage) -> None:
    page = show(new_grid(Meaning("t5", "flan"), T5))
    rise = load_presets()["rise"].shape

    act(page, "shape").click()
    page.locator("[data-shape=Rise]").click()
    act(page, "apply-shape").click()
    stage.wait_for_inputs(1)
    assert dict(stage.last.lines) == {("encoder", "layers"): sample(rise, 12), ("decoder", "layers"): sample(rise, 24)}

    act(page, "shape").click()
    page.get_by_role("radio", name="Only encoder").click()
    page.locator("[data-shape=Fall]").click()
    act(page, "apply-shape").click()
    stage.wait_for_inputs(2)
    assert stage.last.lines["decoder", "layers"] == sample(rise, 24)
    assert stage.last.shape == "encoder: Fall"


def test_beyond_0_and_1_only_when_allowed(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    page.get_by_role("checkbox", name="Allow beyond 0–1").check()
    field = page.get_by_role("textbox", name="Weight of layer 0")
    field.fill("-0.5")
    field.press("Enter")
    field = page.get_by_role("textbox", name="Weight of layer 1")
    field.fill("1.3")
    field.press("Enter")
    bar(page, 1).focus()
    page.keyboard.press("ArrowLeft")

    stage.wait_for_inputs(2)
    assert stage.line == (-0.5, 1.3, 0.5, 0.5)
    expect(page.locator(".readout")).to_contain_text("130 % zephyr: extrapolates")
    expect(bar(page, 1)).to_have_class(re.compile("is-beyond"))
    page.get_by_role("checkbox", name="Allow beyond 0–1").uncheck()
    stage.wait_for_inputs(3)
    assert stage.line == (0.0, 1.0, 0.5, 0.5)


def type_text(page: Page, text: str) -> Locator:
    page.get_by_role("radio", name="Text").click()
    area = page.get_by_role("textbox", name="Weights as text")
    area.fill(text)
    return area


HALF = 0.5
TEXTS: list[tuple[str, dict[tuple[str, str], tuple[float, ...]]]] = [
    ("0.3", {LAYERS: (0.3,) * 4}),
    ("0, 0.1, 0.2, 0.3", {LAYERS: (0.0, 0.1, 0.2, 0.3)}),
    ("[0 0.1\n0.2; 0.3]", {LAYERS: (0.0, 0.1, 0.2, 0.3)}),
    ("1-2: 0.8", {LAYERS: (HALF, 0.8, 0.8, HALF)}),
    ("1-2: 0.8, 0.9\n3: 1 # the last", {LAYERS: (HALF, 0.8, 0.9, 1.0)}),
    ("attn 1-2: 0.8", {LAYERS: (HALF,) * 4, ("layers", "attention"): (HALF, 0.8, 0.8, HALF)}),
    (
        "t:\n  - filter: self_attn\n    value: [0, 1]\n  - filter: mlp\n    value: 0.25\n  - value: 0.75",
        {LAYERS: (0.75,) * 4, ("layers", "attention"): (0.0, 0.333, 0.667, 1.0), ("layers", "mlp"): (0.25,) * 4},
    ),
    (
        "parameters:\n  t:\n    - {filter: self_attn, value: [0, 1]}\n    - value: 0.75",
        {LAYERS: (0.75,) * 4, ("layers", "attention"): (0.0, 0.333, 0.667, 1.0)},
    ),
    ("t: [0, 0.5, 0]", {LAYERS: (0.0, 0.333, 0.333, 0.0)}),
    ("t:\n  - 0\n  - 1", {LAYERS: (0.0, 0.333, 0.667, 1.0)}),
]


def test_a_text_sets_the_weights(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    for text, lines in TEXTS:
        type_text(page, text)
        wait_until(lambda lines=lines: bool(stage.received) and stage.last.lines == lines)
        act(page, "undo").click()
        wait_until(lambda: stage.last == flat(4))


def test_a_text_sets_rows_and_lets_them_follow(show: Show, stage: Stage) -> None:
    page = show(replace(flat(4), rows={**flat(4).rows, (None, "head"): 0.4}))

    type_text(page, "embed: 0\nhead: follows")

    stage.wait_for_inputs(1)
    assert stage.last.rows == {(None, "embeddings"): 0.0, (None, "final_norm"): None, (None, "head"): None}


def test_a_text_names_stacks(show: Show, stage: Stage) -> None:
    page = show(new_grid(Meaning("t5", "flan"), T5))

    type_text(page, "encoder mlp 0-3: 0.8\ndecoder.final_norm: 0\ndecoder: 0.1")

    stage.wait_for_inputs(1)
    assert stage.last.lines["encoder", "mlp"] == (0.8,) * 4 + (0.5,) * 8
    assert stage.last.lines["decoder", "layers"] == (0.1,) * 24
    assert stage.last.rows["decoder", "final_norm"] == 0.0


MISTAKES: list[tuple[str, str | None, str]] = [
    ("0-1: 0.5, x", "x", "Line 1, character 11: Expected a number, found “x”. Nothing was changed."),
    ("0.1\n2: 0.5.5", "0.5.5", "Line 2, character 4: Expected a number, found “0.5.5”."),
    ("0, 1, 0", "0", "Line 1, character 1: Expected 4 numbers, one per layer, found 3."),
    ("nose: 0.5", "nose", "Line 1, character 1: These models have no part “nose”. Known: layers, attention,"),
    ("router: 0.5", "router", "These models have no part “router”."),
    ("2-7: 0.5", "2-7", "Layers are counted from 0 to 3, found 2-7."),
    ("0-1: 1.5", "1.5", "A weight is from 0 to 1 here."),
    ("head: 1 2", "2", "Expected one number, or “follows”."),
    ("t:\n  - filter: self_attn\n    value: [0, z]", "z", "Line 3, character 16: Expected a number, found “z”."),
    ("t:\n  - filter: nose\n    value: 1", None, "These models have no part “nose”."),
]


def test_an_error_in_a_text_is_marked_and_changes_nothing(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    for text, mark, sentence in MISTAKES:
        area = type_text(page, text)

        expect(page.locator(".text-note")).to_contain_text(sentence)
        expect(area).to_have_attribute("aria-invalid", "true")
        if mark is not None:
            expect(page.locator(".shadow mark")).to_have_text(mark)
        assert area.input_value() == text
    page.wait_for_timeout(200)
    assert stage.received == []


def test_the_text_that_is_shown_reads_back_to_the_same_grid(show: Show, stage: Stage) -> None:
    grid = replace(
        new_grid(Meaning("t5", "flan"), T5),
        lines={
            ("encoder", "layers"): sample(load_presets()["smooth-rise"].shape, 12),
            ("decoder", "layers"): (0.25,) * 24,
            ("decoder", "mlp"): sample(load_presets()["ends"].shape, 24),
        },
        rows={**new_grid(Meaning("", ""), T5).rows, (None, "head"): 0.1},
    )
    page = show(grid)
    page.get_by_role("radio", name="Text").click()
    text = page.get_by_role("textbox", name="Weights as text").input_value()

    act(page, "reset").click()
    type_text(page, text)

    stage.wait_for_inputs(2)
    assert (stage.last.lines, stage.last.rows) == (grid.lines, grid.rows)


def test_a_typed_text_is_one_step_to_undo(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    area = type_text(page, "")
    for key in "attn: 0.75":
        area.press(key)
        page.wait_for_timeout(150)
    expect(area).to_be_focused()
    expect(area).to_have_value("attn: 0.75")
    wait_until(lambda: bool(stage.received) and stage.last.lines["layers", "attention"] == (0.75,) * 4)

    act(page, "undo").click()
    wait_until(lambda: stage.last == flat(4))
    expect(act(page, "undo")).to_be_disabled()


def test_a_text_typed_back_to_what_was_there_is_told_too(show: Show, stage: Stage) -> None:
    page = show(flat(4))

    area = type_text(page, "0.7")
    stage.wait_for_inputs(1)
    area.fill("0.5")

    stage.wait_for_inputs(2)
    assert stage.last == flat(4)


def test_weights_are_copied_and_pasted_as_text(show: Show, stage: Stage) -> None:
    page = show(rising(5))

    bar(page, 0).focus()
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()") == "0, 0.25, 0.5, 0.75, 1"
    page.evaluate("navigator.clipboard.writeText('1\\n0.5\\n0.25\\n0.5\\n1')")
    page.keyboard.press("Control+v")

    stage.wait_for_inputs(1)
    assert stage.line == (1.0, 0.5, 0.25, 0.5, 1.0)
    page.evaluate("navigator.clipboard.writeText('1, 0, 1')")
    page.keyboard.press("Control+v")
    expect(page.locator(".hint")).to_have_text("Expected 5 numbers, one per layer, found 3. Nothing was changed.")
    select(page, 1, 3)
    page.keyboard.press("Control+v")
    stage.wait_for_inputs(2)
    assert stage.line == (1.0, 1.0, 0.0, 1.0, 1.0)


def test_a_block_of_cells_is_pasted_into_the_table_whole_or_not_at_all(show: Show, stage: Stage) -> None:
    page = show(replace(flat(4), lines={LAYERS: (0.5,) * 4, ("layers", "attention"): (0.5,) * 4}))

    page.get_by_role("radio", name="Table").click()
    cell = page.get_by_role("textbox", name="Attention, layer 1, share of zephyr")
    cell.focus()
    page.evaluate("navigator.clipboard.writeText('0.1\\t0.2\\n0.3\\t0.4')")
    page.keyboard.press("Control+v")
    stage.wait_for_inputs(1)
    assert stage.last.lines == {LAYERS: (0.5, 0.2, 0.4, 0.5), ("layers", "attention"): (0.5, 0.1, 0.3, 0.5)}

    page.evaluate("navigator.clipboard.writeText('1\\n1\\n1\\n1')")
    page.keyboard.press("Control+v")
    expect(page.locator(".hint")).to_have_text("Expected 3 rows from layer 1 on, found 4. Nothing was changed.")
    page.wait_for_timeout(200)
    assert len(stage.received) == 1


def test_sliders_fold_by_eights_and_set_one_layer_or_a_group(show: Show, stage: Stage) -> None:
    page = show(rising(20))

    page.get_by_role("radio", name="Sliders").click()
    expect(page.locator("[data-act=fold]")).to_have_text(["Layers 0–7", "Layers 8–15", "Layers 16–19"])
    page.get_by_role("slider", name="Layer 3", exact=True).fill("0.9")
    stage.wait_for_inputs(1)
    assert stage.line[3] == 0.9
    group = page.get_by_role("textbox", name="Layers 8 to 15")
    expect(group).to_have_attribute("placeholder", "mixed")
    group.fill("0.2")
    group.press("Enter")
    stage.wait_for_inputs(2)
    assert stage.line[8:16] == (0.2,) * 8


def test_on_a_phone_handles_bend_the_curve(show: Show, stage: Stage) -> None:
    page = show(flat(33), viewport=PHONE, has_touch=True)
    handle = page.locator("[data-handle='16']")
    box = handle.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44

    handle.hover()
    page.mouse.down()
    page.mouse.move(box["x"] + 22, box["y"] + 22 - 0.4 * 184, steps=5)
    page.mouse.up()

    stage.wait_for_inputs(1)
    assert stage.line[16] == pytest.approx(0.9, abs=0.01)
    assert stage.line[12] == pytest.approx(0.7, abs=0.01)
    assert (stage.line[8], stage.line[24]) == (0.5, 0.5)


def swipe(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A finger, through the browser's own input, so that touch-action decides who gets the gesture."""
    session = page.context.new_cdp_session(page)
    for kind, steps in (("touchStart", [0.0]), ("touchMove", [k / 10 for k in range(1, 11)]), ("touchEnd", [])):
        for share in steps or [None]:
            points = []
            if share is not None:
                x, y = (start[i] + (end[i] - start[i]) * share for i in (0, 1))
                points = [{"x": x, "y": y}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_on_a_phone_a_swipe_over_the_bars_scrolls_until_edit_bars_is_tapped(show: Show, stage: Stage) -> None:
    page = show(flat(32), viewport={"width": 390, "height": 420}, has_touch=True, is_mobile=True)
    x, y = point(page, 5, 0.2)

    swipe(page, (x, y), (x, y - 80))
    page.wait_for_function("scrollY > 30")
    assert stage.received == []

    page.evaluate("scrollTo(0, 0)")
    page.get_by_role("button", name="Edit bars").tap()
    page.evaluate("scrollTo(0, 0)")
    x, y = point(page, 5, 0.2)
    swipe(page, (x, y), point(page, 5, 0.9))
    stage.wait_for_inputs(1)
    assert stage.line[5] == pytest.approx(0.9, abs=0.02)
    assert page.evaluate("scrollY") == 0


OVERFLOWING = """() => [...document.querySelectorAll(".equaliser *")]
    .filter((node) => node.getBoundingClientRect().right > innerWidth && node.checkVisibility())
    .map((node) => node.outerHTML.slice(0, 99))"""


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_nothing_overflows(show: Show, width: int) -> None:
    page = show(
        flat(80, "an-organisation-with-a-long-name/" + "x" * 60, "b" * 90), viewport={"width": width, "height": 800}
    )

    for each in ("all", "each") if width > 699 else ("all",):
        if width > 699:
            page.locator(f"[data-choice={each}]").click()
        assert page.evaluate(OVERFLOWING) == []


def test_a_value_that_no_page_makes_is_refused_over_the_api(show: Show, stage: Stage) -> None:
    page = show(flat(4))
    forged = grid_value(flat(4)) | {"a": 7}

    answer = page.request.post(f"http://127.0.0.1:{stage.port}/gradio_api/call/told", data={"data": [forged]})
    event = answer.json()["event_id"]
    told = page.request.get(f"http://127.0.0.1:{stage.port}/gradio_api/call/told/{event}").text()

    assert "a: expected a valid string, found 7. Reload the page." in json.loads(told.split("data: ")[1])["error"]
    assert stage.received == []


def test_the_list_of_keys_opens_by_key_and_leaves_the_bars_alone(show: Show, stage: Stage) -> None:
    page = show(flat(8))
    page.locator(".lane [data-layer='0']").focus()

    page.keyboard.press("?")

    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Ctrl + Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
    expect(page.locator(".lane [data-layer='0']")).to_be_focused()
    assert stage.received == []
