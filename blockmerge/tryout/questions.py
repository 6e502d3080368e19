"""What may be asked, and how each kind of model is asked it."""

from blockmerge.errors import TryError
from blockmerge.tryout.conversation import Request
from blockmerge.tryout.kinds import Kind
from blockmerge.tryout.messages import Compare, Fill, Generate, Question, Score

LONGEST_PROMPT = 20_000  # characters
LONGEST_ANSWER = 2_048  # tokens
HOTTEST = 2.0
LARGEST_SEED = 2**32 - 1


def check_request(request: Request) -> Request:
    """Raises TryError with everything that is wrong."""
    problems = [_text_problem("prompt", request.prompt)]
    if type(request.seed) is not int or not 0 <= request.seed <= LARGEST_SEED:
        problems.append(f"The seed is a whole number from 0 to {LARGEST_SEED:,}.")
    if type(request.temperature) not in (int, float) or not 0 <= request.temperature <= HOTTEST:
        problems.append("The temperature is a number from 0 to 2. At 0 the likeliest token is taken each time.")
    if type(request.length) is not int or not 1 <= request.length <= LONGEST_ANSWER:
        problems.append(f"The longest answer is a whole number of tokens from 1 to {LONGEST_ANSWER:,}.")
    found = [problem for problem in problems if problem]
    if found:
        raise TryError(*found)
    return request


def check_text(text: object, context: object) -> tuple[str, str]:
    """Raises TryError where these cannot be measured."""
    problems = [_text_problem("text", text), _text_problem("prompt", context) if context else ""]
    found = [problem for problem in problems if problem]
    if found:
        raise TryError(*found)
    return str(text), str(context or "")


def _text_problem(what: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        return f"Write a {what} first."
    if len(text) > LONGEST_PROMPT:
        return f"The {what} has {len(text):,} characters. Use {LONGEST_PROMPT:,} at most."
    return ""


def question_for(
    kind: Kind, request: Request, history: tuple[tuple[str, str], ...], *, template: bool = True
) -> Question:
    """Raises TryError where the prompt is none for this kind of model."""
    match kind:
        case Kind.WRITER:
            return Generate(
                request.prompt,
                history if request.chat else (),
                request.chat,
                template,
                request.seed,
                float(request.temperature),
                request.length,
            )
        case Kind.FILLER:
            return Fill(request.prompt)
        case Kind.READER:
            lines = [line.strip() for line in request.prompt.splitlines() if line.strip()]
            if len(lines) != 2:
                raise TryError("Write two sentences, each on a line of its own, to see how alike they are.")
            return Compare(*lines)


def score_for(kind: Kind, text: str, context: str, *, chat: bool, template: bool = True) -> Question:
    """Raises TryError."""
    if kind is not Kind.WRITER:
        raise TryError("Only models that write can say how likely a text is.")
    return Score(text, context, chat, template)
