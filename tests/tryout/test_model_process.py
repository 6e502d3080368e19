"""A model process from the page's side: what hangs is ended, what dies is told."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.errors import TryError
from blockmerge.tryout.messages import Ended, Generate, Load, Loaded, Message, Written
from blockmerge.tryout.model_process import ModelProcess, TemplateTooLongError

PARROT = "tests.tryout.parrot"


def never() -> bool:
    return False


def said(text: str, *, template: bool = True) -> Generate:
    return Generate(text, (), True, template, 0, 0.0, 8)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ModelProcess]:
    started = ModelProcess(os.environ, tmp_path / "logs" / "try.log", PARROT)
    started.hello(never)
    yield started
    started.close()


def answer(process: ModelProcess, text: str) -> list[Message]:
    return list(process.ask(said(text), never))


def test_it_says_hello_loads_and_answers(process: ModelProcess) -> None:
    assert process.load(Load("a", "b", "float32", 0)) == Loaded(0)
    assert answer(process, "hello")[-2:] == [Written("hello", 1, 0.0), Ended("end")]


def test_a_template_that_hangs_is_ended_within_seconds(process: ModelProcess) -> None:
    with pytest.raises(TemplateTooLongError, match=r"^The chat template took too long; plain prompt used\.$"):
        answer(process, "hang template")

    assert not process.is_alive


def test_a_tokenizer_that_hangs_is_ended_within_seconds(process: ModelProcess) -> None:
    with pytest.raises(TryError, match=r"^The tokenizer failed on this text\.$"):
        answer(process, "hang tokens")

    assert not process.is_alive


def test_a_death_is_told_with_the_log_and_asking_again_tells_it_again(process: ModelProcess, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(TryError) as told:
            answer(process, "die")
        assert str(told.value) == (
            f"The model process ended unexpectedly (exit code 3). Its log may say why: {tmp_path / 'logs' / 'try.log'}"
        )


def test_a_kill_from_outside_is_called_out_of_memory(process: ModelProcess) -> None:
    process._process.kill()

    with pytest.raises(TryError, match=r"^The model process was killed, most likely out of memory\. Free other models"):
        answer(process, "hello")


def test_an_answer_is_stopped(process: ModelProcess) -> None:
    heard: list[Message] = []

    for message in process.ask(said("long"), lambda: len(heard) > 3):
        heard.append(message)

    assert heard[-1] == Ended("stopped")
    assert answer(process, "hello")[-1] == Ended("end")


def test_an_answer_that_nobody_hears_to_its_end_is_not_taken_for_the_next(process: ModelProcess) -> None:
    talk = process.ask(said("long"), never)
    next(message for message in talk if isinstance(message, Written))
    talk.close()

    assert answer(process, "hello")[-2:] == [Written("hello", 1, 0.0), Ended("end")]


def test_no_answer_is_a_sentence_and_the_process_lives(process: ModelProcess) -> None:
    with pytest.raises(TryError, match=r"^It has no answer\.$"):
        answer(process, "fail")

    assert answer(process, "hello")[-1] == Ended("end")


def test_no_token_reaches_a_model_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {**os.environ, "HF_TOKEN": "secret", "HUGGING_FACE_HUB_TOKEN": "secret"}
    process = ModelProcess(kept, tmp_path / "try.log", PARROT)
    try:
        process.hello(never)
        environ = Path(f"/proc/{process._process.pid}/environ")
        if environ.exists():  # only Linux shows it
            assert b"secret" not in environ.read_bytes()
    finally:
        process.close()


def test_closing_ends_it_whatever_it_does(process: ModelProcess) -> None:
    talk = process.ask(said("long"), never)
    next(talk)

    start = time.monotonic()
    process.close()

    assert time.monotonic() - start < 5
    assert not process.is_alive
    talk.close()  # type: ignore[attr-defined]
