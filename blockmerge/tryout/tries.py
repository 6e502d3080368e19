"""Trying models: questions go to all columns of a job at once, each answered by its own process."""

import random
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from blockmerge.errors import TryError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import RUNNING, Job, JobState
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings
from blockmerge.tryout.columns import Column, Open, check_tryable, columns_of, kind_among
from blockmerge.tryout.conversation import Answer, AnswerState, Conversation, Measure, Measured, Request, Round
from blockmerge.tryout.kinds import Kind
from blockmerge.tryout.memory import free_memory
from blockmerge.tryout.messages import Compared, Ended, Filled, Message, Noted, Question, Scored, Written
from blockmerge.tryout.model_process import IsStopped, StoppedError, TemplateTooLongError
from blockmerge.tryout.pool import Pool, Surroundings
from blockmerge.tryout.questions import check_request, check_text, question_for, score_for
from blockmerge.tryout.votes import EQUAL, Votes

MERGE_ROOM = 10**9  # bytes: with less, a merge gets the memory of models that nobody asks
MOST_CONVERSATIONS = 200
MOST_OPEN = 8  # questions under way at once, of all people
OFFERED = 500  # of the newest jobs of all people

Ask = Callable[[bool], Question]  # with or without the chat template


@dataclass(frozen=True, slots=True)
class Person:
    """Whose jobs may be tried, and which browser's conversation it is."""

    owner: str
    browser: str


class Tries:
    """Conversations, models and votes of one page. Close it at its end."""

    def __init__(self, settings: Settings, store: Store, open_checkpoint: Open) -> None:
        self._settings = settings
        self._store = store
        self._open = open_checkpoint
        self.pool = Pool(Surroundings(settings.logs / "try.log", self._merge_waits))
        self.votes = Votes(settings.home / "votes.json")
        self._conversations: dict[Person, Conversation] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        for conversation in self._all():
            self._stop(conversation)
        self.pool.close()

    def offered(self, owner: str) -> Sequence[Job]:
        """The jobs that this person can try, newest first."""
        done = (job for job in self._store.recent(OFFERED) if job.owner == owner and job.state is JobState.DONE)
        return [job for job in done if job.out.is_dir()]

    def job(self, owner: str, number: int) -> Job:
        """Raises JobRequestError where this person has none of that number that can be tried."""
        return check_tryable(self._jobs(owner).get(number))

    def kind(self, job: Job) -> Kind:
        """Raises TryError."""
        return kind_among(columns_of(job, self._open))

    def _jobs(self, owner: str) -> OwnJobs:
        return OwnJobs(self._store, self._settings, owner)

    def look(self, person: Person) -> Conversation:
        """That of one browser, as far as it has one."""
        with self._guard:
            return self._conversations.get(person) or Conversation()

    def conversation(self, person: Person) -> Conversation:
        """That of one browser, to be kept; of too many, the longest unused is forgotten."""
        with self._guard:
            found = self._conversations.pop(person, None) or Conversation()
            others = list(self._conversations.items())[1 - MOST_CONVERSATIONS :]
            self._conversations = {**dict(others), person: found}
            return found

    def ask(self, person: Person, request: Request) -> Round:
        """Begin to answer. Raises TryError or JobRequestError."""
        job = self.job(person.owner, check_request(request).job)
        columns = columns_of(job, self._open)
        kind = kind_among(columns)
        question_for(kind, request, ())
        if request.blind:
            # The order is the secret of a blind vote, so it does not come from the seed.
            columns = tuple(random.SystemRandom().sample(columns, len(columns)))
        conversation = self.conversation(person)
        with self._guard:
            if any(held.is_open for held in conversation.rounds):
                raise TryError("An answer is still being written. Stop it first.")
            if sum(held.is_open for other in self._conversations.values() for held in other.rounds) >= MOST_OPEN:
                raise TryError("Too many people are trying models at the moment. Wait until one of them is done.")
            begun = conversation.begin(request, kind, job.recipe, columns)
        for answer in begun.answers:
            if answer.is_open:
                thread = threading.Thread(target=self._answer, args=(person, conversation, begun, answer), daemon=True)
                thread.start()
        return begun

    def stop(self, person: Person) -> None:
        self._stop(self.look(person))

    def clear(self, person: Person) -> None:
        conversation = self.look(person)
        self._stop(conversation)
        conversation.clear()

    def vote(self, person: Person, number: int, place: int | None) -> None:
        """The answer at this place is the best, or, without one, none is. Raises TryError."""
        conversation = self.look(person)
        with conversation.lock:
            round_ = next((held for held in conversation.rounds if held.number == number), None)
            if round_ is None or not round_.is_hidden or round_.is_open:
                raise TryError("There is nothing to vote on here.")
            if place is not None and not 0 <= place < len(round_.answers):
                raise TryError("There is no such answer.")
            round_.vote = EQUAL if place is None else round_.answers[place].column.key
            conversation.touch(round_)
        self.votes.add(round_.recipe, round_.vote)

    def stream(self, owner: str, request: Request, key: str) -> Iterator[str]:
        """The text of one column's answer, longer with each; closed early, the answer is stopped.

        Raises TryError or JobRequestError.
        """
        column = self._column(self.job(owner, check_request(request).job), key)
        assert column.kind is not None
        kind = column.kind
        with closing(
            self._say(column, owner, lambda template: question_for(kind, request, (), template=template))
        ) as said:
            for message in said:
                if isinstance(message, Written | Filled | Compared):
                    yield text_of(message)

    def measure(self, owner: str, number: int, text: str, context: str, *, chat: bool) -> Measure:
        """How likely every column of a job finds a text. Raises TryError or JobRequestError."""
        text, context = check_text(text, context)
        columns = columns_of(self.job(owner, number), self._open)
        found: dict[str, Measured] = {}

        def measure(column: Column) -> None:
            found[column.key] = self._measure(column, owner, text, context, chat)

        threads = [threading.Thread(target=measure, args=[column], daemon=True) for column in columns]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Measure(text, context, tuple(found[column.key] for column in columns))

    def _measure(self, column: Column, owner: str, text: str, context: str, chat: bool) -> Measured:
        if column.kind is None:
            return Measured(column, problem=column.problem)
        kind = column.kind
        try:
            for message in self._say(
                column, owner, lambda template: score_for(kind, text, context, chat=chat, template=template)
            ):
                if isinstance(message, Scored):
                    return Measured(column, message.loss, message.tokens)
        except TryError as error:
            return Measured(column, problem=str(error))
        raise AssertionError("the last message is Scored or raises")

    def _column(self, job: Job, key: str) -> Column:
        columns = {column.key: column for column in columns_of(job, self._open)}
        if key not in columns:
            raise TryError(f"Job {job.id} has no model {key!r}. Choose one of {', '.join(columns)}.")
        if columns[key].problem:
            raise TryError(columns[key].problem)
        return columns[key]

    def _answer(self, person: Person, conversation: Conversation, round_: Round, answer: Answer) -> None:
        column, request = answer.column, round_.request
        assert column.kind is not None
        kind = column.kind
        history = conversation.history(round_, column.key)

        def tell(news: str) -> None:
            answer.news = news
            conversation.touch(round_)

        try:
            if kind is not round_.kind:
                raise TryError("This model is of another kind than the result, so it cannot be asked the same.")
            for message in self._say(
                column,
                person.owner,
                lambda template: question_for(kind, request, history, template=template),
                round_.stopping.is_set,
                tell,
            ):
                _take(answer, message)
                conversation.touch(round_)
        except StoppedError:
            answer.state = AnswerState.STOPPED
        except TryError as error:
            answer.state = AnswerState.FAILED
            answer.notes += error.problems
        conversation.touch(round_)

    def _say(
        self,
        column: Column,
        owner: str,
        ask: Ask,
        is_stopped: IsStopped = lambda: False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Generator[Message]:
        """All that a column's model says to a question; a template that hangs is left out at the second attempt."""
        assert column.checkpoint is not None
        try:
            with self.pool.lend(column.checkpoint, owner, is_stopped, tell) as process:
                yield from process.ask(ask(True), is_stopped)
        except TemplateTooLongError as error:
            yield Noted(str(error))
            with self.pool.lend(column.checkpoint, owner, is_stopped, tell) as process:
                yield from process.ask(ask(False), is_stopped)

    def _merge_waits(self) -> bool:
        return free_memory() < MERGE_ROOM and any(job.state in RUNNING for job in self._store.live())

    def _all(self) -> Sequence[Conversation]:
        with self._guard:
            return tuple(self._conversations.values())

    def _stop(self, conversation: Conversation) -> None:
        with conversation.lock:
            for round_ in conversation.rounds:
                if round_.is_open:
                    round_.stop()
                    conversation.touch(round_)


def _take(answer: Answer, message: Message) -> None:
    """What a message adds to an answer; one that was stopped takes nothing more."""
    if not answer.is_open:
        return
    match message:
        case Noted(sentence):
            answer.notes += (sentence,)
        case Written(text, tokens, seconds):
            answer.state, answer.text, answer.tokens = AnswerState.WRITING, text, tokens
            answer.rate = (tokens - 1) / seconds if tokens > 1 and seconds else 0.0
        case Ended(reason):
            answer.state = AnswerState.STOPPED if reason == "stopped" else AnswerState.DONE
            if reason == "length":
                answer.notes += (f"Cut after {answer.tokens:,} tokens.",)
        case Filled() | Compared():
            answer.state, answer.text = AnswerState.DONE, text_of(message)


def text_of(message: Written | Filled | Compared) -> str:
    match message:
        case Written(text):
            return text
        case Filled(words):
            return "\n".join(f"{share:.1%} {word}".replace("%", " %") for word, share in words)
        case Compared(similarity):
            return f"{similarity:.3f}\n1 is the same meaning, 0 none in common."
