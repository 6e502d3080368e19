"""The page in a real Chromium, by the clock: `python -m benchmarks.page` on a quiet machine; needs playwright.

Starts the app with models of its own, and prints each figure beside its limit. Figures of a browser without a graphics
card on a shared machine are upper bounds.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

from tests.tiny_models import write_llama

REPOSITORY = Path(__file__).parents[1]
ROUNDS = 3

# Resolves with the milliseconds between a click or key and the first frame in which `done` holds
_CLOCK = """
window.clock = (act, done) => new Promise((resolve) => {
  const start = performance.now();
  act();
  const look = () => (done() ? resolve(performance.now() - start) : requestAnimationFrame(look));
  requestAnimationFrame(look);
});
window.frames = [];
window.watchFrames = () => {
  let last = performance.now();
  window.watching = true;
  const tick = (now) => {
    window.frames.push(now - last);
    last = now;
    if (window.watching) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
};
"""


@contextmanager
def running_app(home: Path) -> Iterator[str]:
    for name, layers, seed in (("a80", 80, 1), ("b80", 80, 2), ("a130", 130, 3), ("b130", 130, 4)):
        write_llama(home / "models" / name, layers=layers, seed=seed)
    places = {"BLOCKMERGE_HOME": "home", "BLOCKMERGE_OUTPUT": "output", "BLOCKMERGE_MODELS": "models"}
    environ = {**os.environ, **{key: str(home / folder) for key, folder in places.items()}}
    log = home / "log"
    with log.open("wb") as output:
        command = [sys.executable, REPOSITORY / "app.py", "--port", "0"]
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    try:
        while not (found := re.search(r"is at (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        process.wait()


def choose(page: Page, a: str, b: str) -> None:
    for letter, name in (("a", a), ("b", b)):
        box = page.locator(f"#model-{letter} input")
        box.fill(name)
        box.press("Enter")
    page.get_by_text("These two can be merged.").wait_for(timeout=60_000)
    page.wait_for_selector(".lane [data-layer]")


def page_ready(page: Page, address: str) -> float:
    def once() -> float:
        start = time.perf_counter()
        page.goto(address)
        page.wait_for_selector(".equaliser[data-ready]", timeout=60_000)
        return (time.perf_counter() - start) * 1000

    return median(once() for _ in range(ROUNDS))


def clicks_to_a_job(page: Page) -> float:
    page.get_by_role("button", name="Use the example pair").click()
    page.locator("#queue:not([disabled])").wait_for(timeout=60_000)
    page.locator("#queue").click()
    page.get_by_text("is in line.").wait_for(timeout=60_000)
    return 2


def typed_value(page: Page) -> dict[str, float]:
    """From Enter in a field to the value in each of the four views, the middle of some rounds."""
    found = {}
    a_field = "[...document.querySelectorAll('.%s input')].some((field) => Number(field.value) === Number(value))"
    shows = {
        "bars": "document.querySelector('.lane [data-layer=\"3\"]').getAttribute('aria-valuenow') === value",
        "sliders": a_field % "groups",
        "table": a_field % "table",
        "text": "document.querySelector('textarea.text').value.includes(value)",
    }
    for place, (view, shown) in enumerate(shows.items()):
        times = []
        for number in range(ROUNDS):
            page.locator("[data-choice=bars]").click()
            page.locator(".lane [data-layer='3']").click()  # Enter goes on to the next layer
            page.locator(f"[data-choice={view}]").click()
            times.append(page.evaluate(_TYPED, [f"0.{711 + 10 * place + number}", shown]))
        found[view] = median(times)
    return found


_TYPED = """([value, shown]) => {
  const field = document.querySelector("[data-act=weight]");
  const done = new Function("value", `return ${shown}`);
  return clock(() => {
    field.focus();
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  }, () => done(value));
}"""


def preset(page: Page) -> float:
    """130 layers in three lanes, from the click on a shape to the last bar."""
    page.get_by_role("radio", name="Each module").click()
    page.locator("[data-act=shape]").click()
    last = (
        "[...document.querySelectorAll('.lane [data-layer=\"129\"]')].map((bar) => bar.getAttribute('aria-valuenow'))"
    )
    click = "document.querySelector('[data-shape=\"%s\"]').click()"
    times = []
    for name, value in (("Rise", "1"), ("Fall", "0")) * 3:
        every = f"{last}.every((value) => value === '{value}')"
        times.append(page.evaluate(f"clock(() => {click % name}, () => {every})"))
    page.locator("[data-act=cancel-shape]").click()
    return median(times)


def stroke(page: Page) -> tuple[float, float]:
    """Frames while 80 layers are painted (95th percentile), and how many events the server got."""
    sent: list[str] = []
    page.on(
        "request",
        lambda request: sent.append(request.url) if "/run/" in request.url or "/call" in request.url else None,
    )
    box = page.locator(".lane").bounding_box()
    assert box is not None
    page.evaluate("watchFrames()")
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] - 4)
    page.mouse.down()
    for step in range(120):
        page.mouse.move(box["x"] + 2 + (box["width"] - 4) * step / 119, box["y"] + box["height"] * (1 - step / 121))
    page.evaluate("window.watching = false")
    page.mouse.up()
    page.wait_for_timeout(1500)
    frames = sorted(page.evaluate("window.frames.slice(2)"))
    return frames[int(len(frames) * 0.95)], len(sent)


def report(name: str, figure: float, limit: str) -> None:
    print(f"{name:52} {figure:8.1f}   {limit}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as home, running_app(Path(home)) as address, sync_playwright() as playwright:
        path = "/usr/bin/chromium"
        browser = playwright.chromium.launch(
            executable_path=path if Path(path).exists() else None, args=["--no-sandbox", "--disable-gpu"]
        )

        def fresh() -> Page:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(_CLOCK)
            page.goto(address)
            page.wait_for_selector(".equaliser[data-ready]", timeout=60_000)
            return page

        measure: list[tuple[str, Callable[[], float], str]] = [
            ("page ready, ms", lambda: page_ready(fresh(), address), "≤ 1500"),
            ("example pair to a job in line, clicks", lambda: clicks_to_a_job(fresh()), "2"),
        ]
        for name, figure, limit in measure:
            report(name, figure(), limit)
        page = fresh()
        choose(page, "a80", "b80")
        p95, events = stroke(page)
        report("frames while dragging, 95th percentile, ms", p95, "≤ 20")
        report("events of a stroke across 80 layers", events, "1")
        for view, figure in typed_value(page).items():
            report(f"a typed value in {view}, ms", figure, "≤ 100")
        page = fresh()
        choose(page, "a130", "b130")
        report("a preset on 130 layers × 3 lanes, ms", preset(page), "≤ 200")
        browser.close()


if __name__ == "__main__":
    main()
