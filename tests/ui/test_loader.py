"""Recipes from everywhere on the Merge tab, work that survives a reload, and an address that names what is shown."""

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from blockmerge.errors import JobRequestError
from blockmerge.ui.loader.loader import Address, Opening, read_address, read_opening
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page

RECIPE = """\
blockmerge: 1
models: {a: left, b: right}
weights: {layers: [0.0, 0.25, 0.5, 1.0], head: 0.125}
output: {shard_size: 2GB}
"""
LAYERS = [0.0, 0.25, 0.5, 1.0]
HOSTILE = "<img src=x onerror=alert(1)> ${1+1} {{x}} \u202egnp"

Visit = Callable[..., Page]


@pytest.fixture
def visit(bench: Bench, browser: Browser, port: int) -> Iterator[Visit]:
    """Open the page at a path; two models that fit and one that does not lie among its results."""
    for name, layers in (("left", 4), ("right", 4), ("deep", 6)):
        write_llama(bench.settings.output / name, layers=layers, seed=layers + len(name))
    with ExitStack() as stack:

        def open_one(query: str = "", **options: object) -> Page:
            page = stack.enter_context(fresh_page(browser, f"http://127.0.0.1:{port}/", **options))
            if query:
                page.goto(f"http://127.0.0.1:{port}/{query}")
            page.wait_for_selector(".loader", state="attached")
            return page

        yield open_one


def weights(page: Page) -> list[float]:
    bars = page.locator(".lane [data-layer]")
    expect(bars.first).to_be_visible(timeout=30_000)
    return [float(bar.get_attribute("aria-valuenow") or "nan") for bar in bars.all()]


def drop(page: Page, name: str, content: bytes) -> None:
    """A file let go over the page, as a file manager does it."""
    page.evaluate(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            const options = {dataTransfer: transfer, bubbles: true, cancelable: true};
            document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        [name, list(content)],
    )


def as_shard(recipe: str) -> bytes:
    header = json.dumps({"__metadata__": {"blockmerge_recipe": recipe}}).encode()
    return struct.pack("<Q", len(header)) + header


def test_a_recipe_that_is_dropped_is_shown_with_its_models_weights_and_settings(visit: Visit) -> None:
    page = visit()

    drop(page, "recipe.yaml", RECIPE.encode())

    expect(page.get_by_text("The recipe is shown below.")).to_be_visible(timeout=30_000)
    assert weights(page) == LAYERS
    expect(page.locator("#model-a input")).to_have_value("left")
    expect(page.locator("#model-b input")).to_have_value("right")
    page.locator("#more > button").click()
    expect(page.locator("#shard-size input")).to_have_value("2 GB")
    expect(page.locator("[data-row=head] input[type=text]")).to_have_value("0.125")


def test_of_a_weight_file_the_recipe_in_its_header_is_shown(visit: Visit) -> None:
    page = visit()

    drop(page, "model.safetensors", as_shard(RECIPE) + bytes(100))

    expect(page.get_by_text("The recipe is shown below.")).to_be_visible(timeout=30_000)
    assert weights(page) == LAYERS


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("model.safetensors", b"\xff" * 20, "This is no whole safetensors file, so it holds no recipe."),
        ("a.safetensors", struct.pack("<Q", 2) + b"{}", "This weight file holds no recipe. Only results of blockmerge"),
        ("a.safetensors", struct.pack("<Q", 2) + b"{{", "The header of this safetensors file cannot be read."),
        ("notes.txt", b"hello: 1", "The recipe does not start with 'blockmerge: 1'"),
        ("big.yaml", b" " * 1_000_001, "This file is larger than 1 MB."),
        ("long.yaml", b" " * 70_000, "The recipe is longer than 64 kB."),
        ("odd.yaml", f"blockmerge: 1\nmethod: {HOSTILE!r}".encode(), "onerror=alert(1)>"),
    ],
)
def test_a_file_that_is_no_recipe_gets_a_sentence_and_changes_nothing(
    visit: Visit, name: str, content: bytes, sentence: str
) -> None:
    page = visit()

    drop(page, name, content)

    expect(page.locator("#opened")).to_contain_text("This recipe cannot be shown.", timeout=30_000)
    expect(page.locator("#opened")).to_contain_text(sentence)
    expect(page.locator("#opened img")).to_have_count(0)
    expect(page.locator("#model-a input")).to_have_value("")


def test_weights_that_do_not_fit_the_layers_are_told(visit: Visit) -> None:
    page = visit()

    drop(page, "recipe.yaml", RECIPE.replace("left", "deep").replace("right", "deep").encode())

    expect(page.locator("#checks")).to_contain_text(
        "do not fit these models, so every block begins at 0.50", timeout=30_000
    )
    expect(page.locator("#checks")).to_contain_text("weights.layers: expected 6 numbers, one per layer, found 4.")
    assert weights(page) == [0.5] * 6


def test_weights_wait_until_the_models_are_found(visit: Visit) -> None:
    page = visit()
    drop(page, "recipe.yaml", RECIPE.replace("right", "gone").encode())
    expect(page.locator("#checks")).to_contain_text("Model B:", timeout=30_000)

    page.locator("#model-b input").fill("right")
    page.locator("#model-b input").press("Enter")

    assert weights(page) == LAYERS


def test_weights_that_were_drawn_survive_a_reload(visit: Visit) -> None:
    page = visit()
    drop(page, "recipe.yaml", RECIPE.encode())
    weights(page)
    page.locator(".lane [data-layer='0']").focus()
    for key in ("ArrowRight", "ArrowRight", "End"):
        page.keyboard.press(key)
    expect(page.locator(".lane [data-layer='2']")).to_have_attribute("aria-valuenow", "1")
    page.wait_for_function("sessionStorage.getItem('blockmerge-draft')?.includes('1.0, 1.0]')")
    page.locator("#name textarea, #name input").first.fill("mine")
    page.wait_for_function("sessionStorage.getItem('blockmerge-draft')?.includes('\"mine\"')")

    page.reload()

    assert weights(page) == [0.0, 0.25, 1.0, 1.0]
    expect(page.locator("#name textarea, #name input").first).to_have_value("mine")
    expect(page.get_by_text("The recipe is shown below.")).to_have_count(0)
    expect(page.locator("[data-act=shape]")).to_contain_text("From a recipe, edited")


def test_a_typed_name_stays_where_a_suggested_one_follows_the_models(visit: Visit) -> None:
    page = visit()
    drop(page, "recipe.yaml", RECIPE.encode())
    weights(page)
    name = page.locator("#name textarea, #name input").first
    expect(name).to_have_value("left-x-right")

    page.locator("#swap").click()
    expect(name).to_have_value("right-x-left")
    name.fill("mine")
    page.locator("#swap").click()

    expect(page.locator("#model-a input")).to_have_value("left")
    page.locator("#swap").click()  # its answer comes after the first one's
    expect(page.locator("#model-a input")).to_have_value("right")
    expect(name).to_have_value("mine")
    name.fill("")
    expect(name).to_have_value("right-x-left")


def test_the_address_carries_the_tab_and_the_back_button_goes_back(visit: Visit) -> None:
    page = visit()
    page.wait_for_selector(".equaliser[data-ready]")

    page.get_by_role("tab", name="Jobs").click()
    page.wait_for_url(re.compile(r"\?tab=jobs$"))
    page.go_back()

    expect(page.get_by_role("tab", name="Merge")).to_have_attribute("aria-selected", "true")
    page.go_forward()
    expect(page.get_by_role("tab", name="Jobs")).to_have_attribute("aria-selected", "true")


def test_an_address_opens_its_tab(visit: Visit) -> None:
    page = visit("?tab=jobs&job=3")

    expect(page.get_by_role("tab", name="Jobs")).to_have_attribute("aria-selected", "true")
    assert page.url.endswith("?tab=jobs&job=3")


def test_a_link_may_hold_a_whole_recipe(visit: Visit) -> None:
    recipe = {"blockmerge": 1, "models": {"a": "left", "b": "right"}, "weights": {"layers": LAYERS}}

    page = visit("?recipe=" + quote(json.dumps(recipe)))

    expect(page.get_by_text("The recipe is shown below.")).to_be_visible(timeout=30_000)
    assert weights(page) == LAYERS
    assert "recipe=" not in page.url  # a reload must not undo what was edited since


def test_what_comes_from_the_browser_is_a_recipe_as_text_or_refused() -> None:
    told = {"recipe": "x", "name": "n", "shape": "s", "device": "cuda", "again": True}
    assert read_opening(told, str.upper) == Opening("x", "n", "s", True, "cuda")
    assert read_opening({"address": "org/merged"}, str.upper) == Opening("ORG/MERGED", "", "", False)
    for forged in (
        None,
        3,
        {"recipe": 3, "name": "", "shape": "", "device": "", "again": False},
        {"recipe": "", "name": "n" * 301, "shape": "", "device": "", "again": False},
        {"recipe": "", "name": "", "shape": "s" * 301, "device": "", "again": False},
    ):
        with pytest.raises(JobRequestError, match=r"^A recipe was expected as text\. Reload the page\.$"):
            read_opening(forged, str.upper)
    with pytest.raises(JobRequestError, match=r"^This text is longer than 1 MB\. A recipe is a page of text"):
        read_opening({"recipe": "x" * 1_000_001, "name": "", "shape": "", "device": "", "again": False}, str.upper)


def test_an_address_written_by_hand_names_what_it_can() -> None:
    assert read_address({"tab": "jobs", "job": "7", "recipe": ""}) == Address("jobs", 7, "")
    for job in ("", "-1", "1e5", "\u0663", "9" * 30):
        assert read_address({"tab": "jobs", "job": job, "recipe": ""}).job is None
    assert read_address([1]) == Address("", None, "")


def test_weights_of_single_tensors_are_dropped_with_a_button(visit: Visit) -> None:
    page = visit()
    text = (
        'blockmerge: 1\nmodels: {a: left, b: right}\nweights: {layers: 0.5, tensors: {"model.layers.1.mlp.*": 0.9}}\n'
    )
    drop(page, "recipe.yaml", text.encode())
    told = page.get_by_text(
        "The recipe sets single tensors by name, which the bars do not show: model.layers.1.mlp.* 0.9."
    )
    expect(told).to_be_visible(timeout=30_000)

    page.get_by_role("button", name="Drop the weights of single tensors").click()

    expect(told).to_be_hidden()
    expect(page.get_by_role("button", name="Drop the weights of single tensors")).to_be_hidden()
