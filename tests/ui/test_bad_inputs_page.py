"""The bad and odd inputs of tests/test_bad_inputs.py once more, as the page meets them: one list, two ways in.

All of them concern the models; the page has no recipe file of the user's to spoil.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from blockmerge.checkpoints.library import Library
from blockmerge.errors import JobRequestError
from blockmerge.ui.draft import Drafting
from blockmerge.ui.forms import Form
from blockmerge.ui.lines.line import Line
from blockmerge.ui.tabs import Context
from tests.test_bad_inputs import ACCEPTED, REFUSED
from tests.tiny_models import write_llama, write_tokenizer
from tests.ui.conftest import Bench


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two whole models; a case spoils the second one."""
    for seed, key in enumerate("ab"):
        write_tokenizer(write_llama(tmp_path / "models" / key, layers=2, seed=seed))
    return tmp_path / "models"


@pytest.fixture
def drafting(bench: Bench, models: Path) -> Drafting:
    return Drafting(
        Context(
            bench.settings,
            bench.store,
            Library((models,), any_path=True),
            bench.identity,
        )
    )


def form_of(models: Path, name: str = "") -> Form:
    """By their paths: the list offers no folder without a config."""
    return Form({key: str(models / key) for key in "ab"}, name=name)


def said(lines: Sequence[Line]) -> list[str]:
    return [line.text.removeprefix("Model B: ") for line in lines if line.text and not line.inside]


def files_of(bench: Bench, models: Path) -> list[Path]:
    return sorted(path for root in (models, bench.settings.output) for path in root.rglob("*"))


@pytest.mark.parametrize("name", REFUSED)
def test_the_page_says_the_same_sentence_and_queues_nothing(
    name: str, bench: Bench, models: Path, drafting: Drafting
) -> None:
    case, sentence = REFUSED[name]
    case(models / "b")
    before = files_of(bench, models)

    draft = drafting.look(form_of(models))

    assert sentence in said(draft.checks)
    assert not draft.ready
    with pytest.raises(JobRequestError) as caught:
        drafting.add(form_of(models, "merged"))
    assert sentence in [problem.removeprefix("Model B: ") for problem in caught.value.problems]
    assert not bench.store.live()
    assert files_of(bench, models) == before


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_page_accepts_what_is_only_odd_and_says_what_is(name: str, models: Path, drafting: Drafting) -> None:
    case, notes = ACCEPTED[name]
    case(models / "b")

    draft = drafting.look(form_of(models))

    assert said(draft.checks)[1:] == list(notes)
    assert draft.ready
