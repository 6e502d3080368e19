"""A real model and its tuned copy, merged through the page; the result answers. Run it with -m real_model.

BLOCKMERGE_TEST_REAL_PAIR names a folder in which scripts/make_real_pair.py has made them already.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from blockmerge.jobs.states import JobState
from tests.browser.conftest import REPOSITORY, running_app
from tests.browser.test_first_merge import choose, open_merge, queue
from tests.ui.conftest import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.real_model]

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = os.environ.get("BLOCKMERGE_TEST_REAL_PAIR")
    if made:
        return Path(made)
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, REPOSITORY / "scripts" / "make_real_pair.py", folder], check=True)
    return folder


def answer(folder: Path) -> str:
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    chat = [{"role": "user", "content": QUESTION}]
    tokens = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**tokens, max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(written[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))


def capital_share(text: str) -> float:
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) / len(letters)


@pytest.mark.filterwarnings("default")  # what transformers warns of while it generates is not ours
def test_a_quarter_of_the_tuned_copy_still_answers(tmp_path: Path, models: Path, visit: Callable[..., Page]) -> None:
    with running_app(tmp_path, (models,)) as app:
        page = open_merge(visit, app)
        choose(page, "instruct", "capitals")
        expect(page.get_by_text("These two can be merged. 272 of 272 tensors match.")).to_be_visible(timeout=20_000)
        page.get_by_role("button", name=re.compile("Flat 0.50")).click()
        page.get_by_role("radio", name="Flat 0.25").click()
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("#formula")).to_contain_text("with w = 0.25")
        queue(page)
        wait_until(lambda: bool(app.store.recent(1)), 10)
        wait_until(lambda: app.store.get(1).state is JobState.DONE, 60)
        job = app.store.get(1)

    a, b, merged = (load_file(f / "model.safetensors") for f in (models / "instruct", models / "capitals", job.out))
    for name, mine in a.items():
        exact = mine.double() * 0.75 + b[name].double() * 0.25
        assert (merged[name] != exact.to(mine.dtype)).double().mean() <= 1e-3, name
    answers = {folder.name: answer(folder) for folder in (models / "instruct", job.out, models / "capitals")}
    print(answers, job.seconds)
    assert "Paris" in answers["instruct"]
    assert capital_share(answers["instruct"]) < 0.5 < capital_share(answers["capitals"])
    assert len(answers[job.name].split()) >= 3
