"""The Try tab: a finished merge beside the models that it was made of, asked the same."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from blockmerge.errors import BlockmergeError, JobRequestError, TryError
from blockmerge.jobs.states import Job
from blockmerge.tryout.columns import MERGED
from blockmerge.tryout.conversation import Request
from blockmerge.tryout.kinds import Kind
from blockmerge.tryout.questions import LARGEST_SEED, LONGEST_ANSWER
from blockmerge.tryout.tries import Person, Tries
from blockmerge.ui.answers.answers import Answers, read_key
from blockmerge.ui.boundary import shown_error
from blockmerge.ui.figures.figures import Figures
from blockmerge.ui.files import LARGEST_ID
from blockmerge.ui.loader.loader import read_address, shown
from blockmerge.ui.models import open_of_job
from blockmerge.ui.tabs import Context, Tab
from blockmerge.ui.try_views import conversation_view, figures_of, figures_view, holdings_text, job_choice
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

AT_ONCE = 8  # calls of one kind, of all people; others wait in Gradio's queue
CHAT, PLAIN = say("try.chat"), say("try.plain")
_PROMPTS = {
    Kind.WRITER: (say("try.prompt"), say("try.prompt_help")),
    Kind.FILLER: (say("try.gap"), say("try.gap_help")),
    Kind.READER: (say("try.pair"), say("try.pair_help")),
}


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the component asks while an answer is written, and what the API offers; nothing of the page's widgets."""

    tries: Tries

    def look(self, payload: Any, request: gr.Request) -> dict[str, object]:
        """The conversation, as far as it changed since a version."""
        since = payload.get("since") if isinstance(payload, dict) else None
        person = _person(payload, request)
        conversation = self.tries.look(person)
        holdings = self.tries.pool.holdings(person.owner)
        view = conversation_view(
            conversation, since if type(since) is int else -1, lambda recipe: self.tries.votes.of(recipe)
        )
        return {**view, "held": holdings_text(holdings, self.tries.pool.news(person.owner)), "holds": bool(holdings)}

    def stop(self, payload: Any, request: gr.Request) -> str:
        self.tries.stop(_person(payload, request))
        return say("try.stopped")

    def vote(self, payload: Any, request: gr.Request) -> str:
        match payload:
            case {"round": int(number), "place": int() | None as place}:
                try:
                    self.tries.vote(_person(payload, request), number, place)
                except TryError as error:
                    return str(error)
                return say("try.voted")
        return say("try.no_vote")

    def clear(self, payload: Any, request: gr.Request) -> str:
        self.tries.clear(_person(payload, request))
        return say("try.new_begins")

    def free(self, payload: Any, request: gr.Request) -> str:
        _person(payload, request)
        return say("try.let_go", count=self.tries.pool.free(", as you asked"))

    def generate(  # noqa: PLR0913 - each is a field of the endpoint
        self,
        job: int,
        prompt: str,
        request: gr.Request,
        model: str = MERGED,
        chat: bool = True,
        seed: int = 0,
        temperature: float = 0.7,
        length: int = 128,
    ) -> Iterator[str]:
        """Answer with one model of a finished job: "merged", or the key of a model in its recipe.

        Gives the text so far, longer each time. Temperature 0 takes the likeliest token; length is in tokens.
        """
        try:
            asked = Request(_number(job), prompt, chat, seed, temperature, length)
            yield from self.tries.stream(owner_of(request), asked, model)
        except BlockmergeError as error:
            raise shown_error(error.problems) from error

    def score(
        self, job: int, text: str, request: gr.Request, context: str = "", chat: bool = False
    ) -> dict[str, dict[str, object]]:
        """How likely each model of a finished job finds a text, by itself or after a context.

        For each: loss (mean of -ln p over the tokens), tokens, perplexity and probability; or problem.
        """
        try:
            measured = self.tries.measure(owner_of(request), _number(job), text, context, chat=chat)
        except BlockmergeError as error:
            raise shown_error(error.problems) from error
        return {held.column.key: figures_of(held) for held in measured.columns}


class _Page:
    """The tab's widgets, and what each event does to them."""

    def __init__(self, context: Context) -> None:
        self._loader = context.loader
        self._tries = Tries(context.settings, context.store, partial(open_of_job, context))
        self.handlers = Handlers(self._tries)
        with gr.Column(elem_classes="card", elem_id="try-ask"):
            with gr.Row(elem_classes="try-choose"):
                self.job = gr.Dropdown(
                    [], label=say("try.result"), info=say("try.none_yet"), elem_id="try-job", scale=2
                )
                self.chat = gr.Radio([CHAT, PLAIN], value=CHAT, label=say("try.prompt_is"), elem_id="try-chat")
                self.back = gr.Button(say("try.back"), scale=0, elem_id="try-back")
            self.prompt = gr.Textbox(
                label=say("try.prompt"), lines=3, max_lines=10, max_length=100_000, elem_id="try-prompt"
            )
            with gr.Row(elem_classes="try-settings"):
                self.seed = gr.Number(
                    7, label=say("try.seed"), precision=0, minimum=0, maximum=LARGEST_SEED, min_width=80
                )
                self.temperature = gr.Number(
                    0.7, label=say("try.temperature"), minimum=0, maximum=2, step=0.1, min_width=80
                )
                self.length = gr.Number(
                    128, label=say("try.length"), precision=0, minimum=1, maximum=LONGEST_ANSWER, min_width=80
                )
                self.blind = gr.Checkbox(label=say("try.blind"), info=say("try.blind_help"), elem_id="try-blind")
                self.generate = gr.Button(say("try.generate"), variant="primary", scale=0, elem_id="generate")
        functions = [self.handlers.look, self.handlers.stop, self.handlers.vote, self.handlers.clear]
        self.answers = Answers([*functions, self.handlers.free], elem_id="answers")
        with gr.Column(elem_classes="card", elem_id="try-measure"):
            gr.HTML(f"<h2>{escape(say('try.measure'))}</h2>", apply_default_css=False)
            with gr.Row():
                self.text = gr.Textbox(
                    label=say("try.phrase"), lines=2, max_lines=10, max_length=100_000, elem_id="try-text", scale=2
                )
                with gr.Column(min_width=200, scale=1):
                    self.as_answer = gr.Button(say("try.as_answer"), elem_id="try-phrase")
                    self.by_itself = gr.Button(say("try.by_itself"), elem_id="try-perplexity")
            self.figures = Figures(elem_id="try-figures")

    def connect(self) -> None:
        private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": AT_ONCE}
        chosen = [self.job, self.chat, self.prompt, self.seed, self.temperature, self.length, self.figures]
        self.answers.open(self.open, self.answers, chosen, **private)
        about = [self.job, self.chat, self.prompt]
        gr.on([self.answers.parent.select, self.job.input], self.choose, [self.answers, self.job], about, **private)
        self._loader.address(self.go, [self.answers, self.job], about, **private)
        self.back.click(self.show_weights, self.job, self._loader, **private)
        asked = [self.job, self.prompt, self.chat, self.seed, self.temperature, self.length, self.blind]
        # Queued, all of them, as Gradio has no way to show the sentence of a gr.Error in a call that is not.
        self.generate.click(self.ask, [self.answers, *asked], self.answers, **private)
        measured = [self.answers, self.job, self.text]
        self.as_answer.click(self.measure_answer, [*measured, self.prompt, self.chat], self.figures, **private)
        self.by_itself.click(self.measure_text, measured, self.figures, **private)
        gr.api(self.handlers.generate, api_name="generate", concurrency_limit=AT_ONCE)
        gr.api(self.handlers.score, api_name="score", concurrency_limit=AT_ONCE)

    def open(self, key: str, request: gr.Request) -> tuple[Any, ...]:
        """What this browser had here before it loaded the page again; an address with job=N chooses that one."""
        chosen = self._chosen(key, None, request)
        last = chosen.last
        return (
            chosen.dropdown(),
            gr.Radio(visible=chosen.kind is Kind.WRITER, value=PLAIN if last and not last.chat else CHAT),
            gr.Textbox(**chosen.prompt(), value=last.prompt if last else ""),
            *((last.seed, last.temperature, last.length) if last else (gr.skip(),) * 3),
            figures_view(self._tries.look(Person(owner_of(request), key)).measures),
        )

    def choose(self, key: str, number: Any, request: gr.Request) -> tuple[Any, ...]:
        """Another result, or other results to choose from."""
        if not key:
            return (gr.skip(),) * 3  # the tab is opened for the first time: `open` comes in a moment
        chosen = self._chosen(key, number, request)
        return chosen.dropdown(), gr.Radio(visible=chosen.kind is Kind.WRITER), gr.Textbox(**chosen.prompt())

    def go(self, key: str, number: Any, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """The page's address names a job: another tab sent somebody here to try it."""
        named = read_address(event._data)
        return self.choose(key, named.job if named.tab == "try" and named.job else number, request)

    def show_weights(self, job: Any, request: gr.Request) -> dict[str, object]:
        """To the Merge tab, with the recipe of this result."""
        try:
            found = self._tries.job(owner_of(request), _number(job))
        except BlockmergeError as error:
            raise shown_error(error.problems) from error
        return shown(found.recipe, found.name)

    def ask(  # noqa: PLR0913 - one for each widget
        self,
        key: str,
        job: Any,
        prompt: str,
        chat: str,
        seed: Any,
        temperature: Any,
        length: Any,
        blind: bool,
        request: gr.Request,
    ) -> dict[str, object]:
        try:
            asked = Request(_number(job), prompt, chat == CHAT, seed, temperature, length, blind)
            begun = self._tries.ask(_person({"key": key}, request), asked)
        except BlockmergeError as error:
            raise shown_error(error.problems) from error
        return {"key": key, "asked": begun.number}  # a new value: the component looks again

    def measure_answer(  # noqa: PLR0913 - one for each widget
        self, key: str, job: Any, text: str, prompt: str, chat: str, request: gr.Request
    ) -> list[dict[str, object]]:
        """How likely is this text as the beginning of the answer to the prompt?"""
        if not prompt.strip():
            raise gr.Error(say("try.no_prompt"))
        return self._measure(Person(owner_of(request), key), job, text, prompt, chat=chat == CHAT)

    def measure_text(self, key: str, job: Any, text: str, request: gr.Request) -> list[dict[str, object]]:
        return self._measure(Person(owner_of(request), key), job, text, "", chat=False)

    def _measure(self, person: Person, job: Any, text: str, context: str, *, chat: bool) -> list[dict[str, object]]:
        try:
            measure = self._tries.measure(person.owner, _number(job), text, context, chat=chat)
        except BlockmergeError as error:
            raise shown_error(error.problems) from error
        conversation = self._tries.conversation(person)
        conversation.keep(measure)
        return figures_view(conversation.measures)

    def _chosen(self, key: str, number: Any, request: gr.Request) -> "_Chosen":
        """The result of this number, else of the address, else of the last question, else the newest."""
        owner = owner_of(request)
        rounds = self._tries.look(Person(owner, key)).rounds
        last = rounds[-1].request if rounds else None
        jobs = {job.id: job for job in self._tries.offered(owner)}
        named = request.query_params.get("job", "")
        wanted = (
            number if type(number) is int else None,
            int(named) if re.fullmatch(r"\d{1,10}", named) else None,
            last.job if last else None,
            *jobs,
        )
        job = next((jobs[choice] for choice in wanted if choice in jobs), None)
        if job is None:
            return _Chosen(tuple(jobs.values()), None, Kind.WRITER, say("try.none_yet"), last)
        try:
            return _Chosen(tuple(jobs.values()), job, self._tries.kind(job), say("try.result_in", folder=job.out), last)
        except BlockmergeError as error:
            return _Chosen(tuple(jobs.values()), job, Kind.WRITER, " ".join(error.problems), last)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The results to choose from, the chosen one, what can be asked of it, and what was asked last."""

    jobs: Sequence[Job]
    job: Job | None
    kind: Kind
    info: str
    last: Request | None

    def dropdown(self) -> gr.Dropdown:
        choices = [job_choice(job) for job in self.jobs]
        return gr.Dropdown(choices=choices, value=self.job.id if self.job else None, info=self.info)

    def prompt(self) -> dict[str, str]:
        """How the box for the prompt is called."""
        label, info = _PROMPTS[self.kind]
        return {"label": label, "info": info}


def _person(payload: Any, request: gr.Request) -> Person:
    return Person(owner_of(request), read_key(payload))


def _number(job: Any) -> int:
    """The number of a job as it came from a widget or a caller. Raises JobRequestError where it is none."""
    if type(job) is not int or not 0 < job <= LARGEST_ID:
        raise JobRequestError(say("try.no_result"))
    return job


def build(context: Context) -> None:
    _Page(context).connect()


TAB = Tab(say("try.tab"), 3, build)
