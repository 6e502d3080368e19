"""What the Merge tab says about models of the Hub: plain values, no widgets."""

from collections.abc import Sequence

from blockmerge.core.describe import size_text
from blockmerge.core.hub_reference import HubReference
from blockmerge.ui.lines.line import Line, plain
from blockmerge.ui.models import Fetch
from blockmerge.ui.plan_views import said
from blockmerge.ui.wording import say

_SHOWN = 7  # characters of a commit, as git and the Hub show it


def pinned_fact(origin: HubReference | None) -> Sequence[Line]:
    """The commit that a model's reference was found to mean, under its name."""
    if origin is None or origin.revision is None:
        return ()
    return [plain("fact", say("hub.commit", commit=origin.revision[:_SHOWN]))]


def asking(names: Sequence[str]) -> Sequence[Line]:
    """What stands there while the Hub has not answered yet."""
    return said(say("hub.asking", names=", ".join(names)))


def fetch_figures(fetch: Fetch | None) -> Sequence[Line]:
    """What a job will download, and how much of that is here, for the bar."""
    if fetch is None:
        return ()
    here = say("hub.all_here") if not fetch.missing else ""
    value = here or size_text(fetch.missing)
    some = "" if fetch.missing in (0, fetch.total) else f" {say('hub.of_all', total=size_text(fetch.total))}"
    return [Line("figure", [("quiet", say("hub.download")), ("value", value + some)])]
