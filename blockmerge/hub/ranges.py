"""Parts of files on the Hub, without the rest."""

from collections.abc import Iterator
from urllib.parse import quote

from huggingface_hub import hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import http_stream_backoff, httpx

from blockmerge.core.hub_reference import HubReference
from blockmerge.errors import HubError
from blockmerge.hub.client import TIMEOUT, Hub

RETRIES = 2
_TRANSIENT = (500, 502, 503, 504)
_BUSY = 429
_EXPIRED = (400, 401, 403, 404, 410)  # how storages say that an address does not hold any more


class RemoteFile:
    """A file at a commit. It remembers where the Hub sent its first read, so that later ones go there at once; `place`
    is that address where it is known already."""

    def __init__(self, hub: Hub, reference: HubReference, name: str, size: int, place: str = "") -> None:
        self._hub = hub
        self.name = name
        self.size = size
        self._own = f"{hub.endpoint}/{reference.repository}/resolve/{reference.revision}/{quote(name)}"
        self._place = place or self._own

    def read(self, start: int, length: int) -> bytes:
        """Exactly these bytes. Raises what the client raises, or HubError for an answer that is not them."""
        return b"".join(self._asked(start, length))

    def stream(self, start: int, length: int) -> Iterator[bytes]:
        """The same bytes as they come. A cut connection and an address that ran out cost a second request for the
        bytes that are left, not for those that are here. Waits where the Hub says that there were too many requests."""
        left, failures = length, 0
        while left:
            try:
                for part in self._asked(start, left, (*_TRANSIENT, _BUSY)):
                    start, left, failures = start + len(part), left - len(part), 0
                    yield part
            except httpx.TransportError:
                failures += 1
                if failures > RETRIES:
                    raise
            except HfHubHTTPError as error:
                if self._place == self._own or error.response.status_code not in _EXPIRED:
                    raise
                self._place = self._own

    def _asked(self, start: int, length: int, asked_again: tuple[int, ...] = _TRANSIENT) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        if self._place == self._own and self._hub.token is not None:
            headers["Authorization"] = f"Bearer {self._hub.token}"  # taken off where the Hub sends us elsewhere
        with http_stream_backoff(
            "GET",
            self._place,
            headers=headers,
            timeout=TIMEOUT,
            max_retries=RETRIES,
            base_wait_time=0.5,
            retry_on_status_codes=asked_again,
            follow_redirects=True,
        ) as response:
            cut = None
            try:
                yield from self._checked(response, start, length)
            except httpx.TransportError as error:
                cut = error  # raised in here, the client would ask for all of it again, and give that to nobody
            self._place = str(response.url)
        if cut is not None:
            raise cut

    def _checked(self, response: httpx.Response, start: int, length: int) -> Iterator[bytes]:
        if response.is_error:
            response.read()  # the sentence that comes with a refusal
        hf_raise_for_status(response)
        said = response.headers.get(
            "content-range", f"bytes 0-{self.size - 1}/{response.headers.get('content-length')}"
        )
        expected = f"bytes {start}-{start + length - 1}/{self.size}"
        if said != expected:
            raise self._wrong(f"'{expected}' was expected, '{said[:60]}' came")
        count = 0
        for part in response.iter_raw():
            count += len(part)
            if count > length:
                break
            yield part
        if count != length:
            raise self._wrong(f"{length:,} bytes were expected, {count:,} came")

    def _wrong(self, what: str) -> HubError:
        return HubError(f"{self.name} did not come from the Hub as it is listed: {what}. Try again.")
