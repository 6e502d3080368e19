"""Everything that goes wrong with the Hub, in one sentence each; the table decides, the first row that fits.

The client wraps its errors in others, and in Xet mode in plain RuntimeErrors: what counts is the answer of the Hub
below, if there was one, then the failed connection, then what is on top.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from blockmerge.core.hub_reference import HubReference
from blockmerge.errors import BlockmergeError, HubError, HubRefusalError, SignInError, StorageError

HOW_TO_SIGN_IN = "'hf auth login', or a token in HF_TOKEN"
ONLY_SIGNED_IN = "Only people who are signed in may push. Sign in ({sign_in})."

_SECRET = re.compile(r"hf_\w+(?:[.-]\w+)*|(?i:bearer)\s+\S+|[?&](?:X-Amz|Signature|Key-Pair|Policy)[^\s&]*")
_MAX_DEPTH = 8  # errors below errors
_MAX_MESSAGE = 200  # characters of what the Hub itself says
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried where: it stands in the sentences. `is_signed_in` where a token was sent; `sign_in` is how this
    person can."""

    reference: HubReference
    endpoint: str
    is_signed_in: bool
    is_writing: bool = False
    sign_in: str = HOW_TO_SIGN_IN


@dataclass(frozen=True, slots=True)
class Row:
    """`statuses` empty means any; what is None does not matter. `at_storage` is where files lie: other machines than
    the Hub's own, which know no tokens but addresses that hold for a while."""

    kinds: tuple[type[BaseException], ...]
    raised: type[BlockmergeError]
    sentence: str
    statuses: range | tuple[int, ...] = ()
    signed_in: bool | None = None
    writing: bool | None = None
    at_storage: bool | None = None
    says: str = ""

    def fits(self, error: BaseException, attempt: Attempt) -> bool:
        return (
            isinstance(error, self.kinds)
            and (not self.statuses or _status(error) in self.statuses)
            and self.signed_in in (None, attempt.is_signed_in)
            and self.writing in (None, attempt.is_writing)
            and self.at_storage in (None, _is_at_storage(error, attempt))
            and self.says in str(error)
        )


_OFFLINE = "unset HF_HUB_OFFLINE and download it first"
_CONNECTION = (httpx.TransportError, ConnectionError, TimeoutError)

ROWS: tuple[Row, ...] = (
    Row(
        (OfflineModeIsEnabled, IncompleteSnapshotError),
        HubRefusalError,
        f"{{reference}} is not on this machine as a whole, and the Hub is not asked (HF_HUB_OFFLINE): {_OFFLINE}.",
    ),
    Row((HFValidationError,), HubRefusalError, "'{reference}' is not a valid Hub id. Give one such as org/name."),
    Row(
        (GatedRepoError,),
        SignInError,
        "{repository} is open only to those who accept its terms. Sign in ({sign_in}), "
        "and accept them at {endpoint}/{repository}.",
        signed_in=False,
    ),
    Row(
        (GatedRepoError,),
        SignInError,
        "{repository} is open only to those who accept its terms. Accept them at {endpoint}/{repository} as the owner "
        "of this token, then try again.",
    ),
    Row(
        (DisabledRepoError,),
        HubRefusalError,
        "{repository} was disabled by the Hub. {endpoint}/{repository} may say why; use another model.",
    ),
    Row(
        (RevisionNotFoundError,),
        HubRefusalError,
        "{repository} has no revision '{revision}'. Check the branch, tag or commit.",
    ),
    Row(
        (HfHubHTTPError,),
        HubError,
        "The storage of the Hub refused a file (status {status}). Try again; what was moved stays.",
        (*range(400, 416), *range(417, 429)),
        at_storage=True,
    ),
    Row(
        (HfHubHTTPError,),
        SignInError,
        "The Hub does not accept this token: it is wrong, or has expired. Sign in again ({sign_in}).",
        (401,),
        signed_in=True,
    ),
    Row(
        (HfHubHTTPError,),
        SignInError,
        ONLY_SIGNED_IN,
        (401, 404),
        signed_in=False,
        writing=True,
    ),
    Row(
        (RepositoryNotFoundError, HfHubHTTPError),
        SignInError,
        "There is no folder {repository} here, and on the Hub it does not exist or is private. Check the name, or sign "
        "in ({sign_in}).",
        (401,),
    ),
    Row(
        (RepositoryNotFoundError,),
        SignInError,
        "There is no folder {repository} here, and on the Hub it does not exist or is private to others. Check the "
        "name, and whose token this is.",
    ),
    Row(
        (LocalEntryNotFoundError,),
        HubError,
        "The Hub at {endpoint} cannot be reached. Check the connection and try again; HF_HUB_OFFLINE=1 uses only what "
        "is on this machine.",
    ),
    Row(
        (EntryNotFoundError,),
        HubRefusalError,
        "A file that {reference} lists is not there any more. Check the repository, and try again.",
    ),
    Row(
        (HfHubHTTPError,),
        SignInError,
        "This token may not write to {repository}{message}. Use a token with write access, another name, or, where the "
        "repository exists, a pull request.",
        (403,),
        writing=True,
    ),
    Row(
        (HfHubHTTPError,),
        SignInError,
        "This token may not read {repository}{message}. Use another token, or ask its owner for access.",
        (403,),
    ),
    Row(
        (HfHubHTTPError,),
        HubError,
        "The Hub counts too many requests from here{wait}. Wait, then try again; what was moved stays.",
        (429,),
    ),
    Row(
        (HfHubHTTPError,),
        HubError,
        "Somebody changed {repository} meanwhile, so nothing was changed. Push again to put this on top.",
        (409, 412),
        writing=True,
    ),
    Row(
        (HfHubHTTPError,),
        HubError,
        "The Hub takes no more from this account{message}. Free some space there, then push again.",
        (402, 413, 507),
        writing=True,
    ),
    Row(
        (HfHubHTTPError,),
        HubError,
        "The Hub gave another part of a file than was asked for. Try again.",
        (416,),
    ),
    Row(
        (HfHubHTTPError,),
        HubError,
        "The Hub has trouble of its own (status {status}). Try again later; what was moved stays.",
        range(500, 600),
    ),
    Row((HfHubHTTPError,), HubError, "The Hub refused this (status {status}{message}). Try again later."),
    Row(
        (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol),
        HubError,
        "The Hub at {endpoint} cannot be reached. Check the connection and try again; HF_HUB_OFFLINE=1 uses only what "
        "is on this machine.",
    ),
    Row((httpx.TooManyRedirects,), HubError, "The Hub sends requests in a circle. Check HF_ENDPOINT, or try later."),
    Row(
        (httpx.TimeoutException, TimeoutError),
        HubError,
        "The Hub at {endpoint} does not answer. Check the connection and try again; what was moved stays.",
    ),
    Row(
        _CONNECTION,
        HubError,
        "The connection to the Hub was cut. Try again; what was moved stays.",
    ),
    Row(
        (OSError,),
        HubError,
        "A file came from the Hub with the wrong length. Try again; it is fetched anew.",
        says="Consistency check failed",
    ),
    Row(
        (ValueError,),
        HubRefusalError,
        "The Hub does not accept the card{message}. Mend the block between its lines of ---, or have it written anew.",
        says="Invalid metadata in README.md",
    ),
    Row((ValueError, KeyError), HubError, "The answer of {endpoint} makes no sense. Check HF_ENDPOINT, or try later."),
    # What hf_xet raises has no classes of its own.
    Row((RuntimeError,), HubError, "Moving the files failed{message}. Try again; what was moved stays."),
)


_KINDS = tuple({kind for row in ROWS for kind in row.kinds})


@contextmanager
def in_sentences(attempt: Attempt) -> Iterator[None]:
    """Errors of the client become ours; what no row knows passes as it is."""
    try:
        yield
    except _KINDS as error:
        told = sentence_for(error, attempt)
        if told is None:
            raise
        raise told from error


def sentence_for(error: BaseException, attempt: Attempt) -> BlockmergeError | None:
    """The error that a person sees; None where no row fits."""
    chain = [*_chain(error)]
    full = next((held for held in chain if isinstance(held, OSError) and held.errno in _FULL), None)
    if full is not None:
        return StorageError("The disk is full. Free some space, then try again; files that are whole stay.")
    causes: list[BaseException] = [held for held in chain if isinstance(held, HfHubHTTPError)]
    causes += [held for held in chain if isinstance(held, _CONNECTION)]
    told = [held for held in chain if any(row.says and row.fits(held, attempt) for row in ROWS)]  # by their own words
    for cause in (*told, *causes[:1], *chain):
        row = next((row for row in ROWS if row.fits(cause, attempt)), None)
        if row is not None:
            return row.raised(row.sentence.format(**_words(cause, attempt)))
    return None


def redact(text: str) -> str:
    """Without tokens and the signatures of addresses."""
    return _SECRET.sub("(hidden)", text)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(_MAX_DEPTH):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def _is_at_storage(error: BaseException, attempt: Attempt) -> bool:
    return isinstance(error, HfHubHTTPError) and not str(error.response.url).startswith(f"{attempt.endpoint}/")


def _words(error: BaseException, attempt: Attempt) -> dict[str, object]:
    return {
        "reference": attempt.reference,
        "repository": attempt.reference.repository,
        "revision": attempt.reference.revision or "main",
        "endpoint": attempt.endpoint,
        "sign_in": attempt.sign_in,
        "status": _status(error),
        "message": _message(error),
        "wait": _wait(error),
    }


def _message(error: BaseException) -> str:
    """What the Hub itself says, as it may stand in a sentence: short, one line, and without secrets."""
    said = error.server_message or "" if isinstance(error, HfHubHTTPError) else str(error)
    line = redact(" ".join(part for part in said.split() if part.isprintable())).rstrip(".")
    return f": {line[:_MAX_MESSAGE]}" if line else ""


def _wait(error: BaseException) -> str:
    if not isinstance(error, HfHubHTTPError):
        return ""
    # RateLimit: "api";r=0;t=55, by a draft of the IETF; Retry-After: 55
    limit = re.search(r"\bt=(\d+)", error.response.headers.get("ratelimit", ""))
    seconds = limit[1] if limit else error.response.headers.get("retry-after", "")
    return f": {seconds} seconds are left" if seconds.isdecimal() else ""
