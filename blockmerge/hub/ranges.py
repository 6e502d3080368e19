"""Parts of files on the Hub, without the rest."""

from urllib.parse import quote

from huggingface_hub import hf_raise_for_status
from huggingface_hub.utils import http_stream_backoff, httpx

from blockmerge.core.hub_reference import HubReference
from blockmerge.errors import HubError
from blockmerge.hub.client import TIMEOUT, Hub

RETRIES = 2
_TRANSIENT = (500, 502, 503, 504)


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
            retry_on_status_codes=_TRANSIENT,
            follow_redirects=True,
        ) as response:
            content = self._checked(response, start, length)
        self._place = str(response.url)
        return content

    def _checked(self, response: httpx.Response, start: int, length: int) -> bytes:
        if response.is_error:
            response.read()  # the sentence that comes with a refusal
        hf_raise_for_status(response)
        said = response.headers.get(
            "content-range", f"bytes 0-{self.size - 1}/{response.headers.get('content-length')}"
        )
        expected = f"bytes {start}-{start + length - 1}/{self.size}"
        if said != expected:
            raise self._wrong(f"'{expected}' was expected, '{said[:60]}' came")
        content = bytearray()
        for part in response.iter_raw():
            content += part
            if len(content) > length:
                break
        if len(content) != length:
            raise self._wrong(f"{length:,} bytes were expected, {len(content):,} came")
        return bytes(content)

    def _wrong(self, what: str) -> HubError:
        return HubError(f"{self.name} did not come from the Hub as it is listed: {what}. Try again.")
