"""What the page says about publishing a result: on its job's card, and in the dialog."""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from blockmerge.core.progress import Progress, Stage
from blockmerge.jobs.publications import Offer, Publication
from blockmerge.jobs.states import Job
from blockmerge.ui.cards import Card, Link, Segment
from blockmerge.ui.views import share_text
from blockmerge.ui.wording import say

# What would take the files away while they are read.
_NOT_MEANWHILE = frozenset({"delete_files", "forget"})


def published(address: str) -> Link:
    """The link to where a result is, named by its repository."""
    return Link(address, "/".join(urlsplit(address).path.split("/")[1:3]))


def with_publication(card: Card, publication: Publication | None) -> Card:
    """The card of a Done job while its result is on its way, or after that went wrong."""
    if publication is None or publication.address or not any(act == "publish" for act, _ in card.acts):
        return card
    if publication.problem:
        label = say("publish.sign_in_again" if publication.needs_sign_in else "publish.again")
        acts = [(act, label if act == "publish" else named) for act, named in card.acts]
        return replace(card, notes=[*card.notes, *publication.problem.splitlines()], acts=acts)
    progress, state = publication.progress, say("publish.state")
    return replace(
        card,
        kind="run",
        state=state,
        line=(say("publish.to", repository=publication.wish.repository),),
        spoken=say("jobs.spoken", id=card.id, state=state),
        facts=_facts(progress),
        segments=_segments(progress),
        percent=_percent(progress),
        acts=[("stop_publish", say("publish.stop"))],
        more=[(act, label) for act, label in card.more if act not in _NOT_MEANWHILE],
    )


def _percent(progress: Progress) -> int:
    return 100 * progress.done // progress.total if progress.total else 0


def _facts(progress: Progress) -> Sequence[tuple[str, tuple[str]]]:
    name = "publish.fact_sent" if progress.stage is Stage.UPLOAD else "publish.fact_read"
    return ((say(name), (share_text(progress.done, progress.total),)), (say("publish.fact_file"), (progress.detail,)))


def _segments(progress: Progress) -> Sequence[Segment]:
    share = round(progress.done / progress.total, 3) if progress.total else 0.0
    if progress.stage is Stage.VERIFY:
        return (
            Segment("now", share, say("jobs.verify_now"), say("publish.verify_detail")),
            Segment("next", 0.0, say("jobs.upload_next"), ""),
        )
    return (
        Segment("done", 1.0, say("jobs.verify_done"), ""),
        Segment("now", share, say("jobs.upload_now"), say("publish.upload_detail")),
    )


def offer_value(job: Job, offer: Offer, last: Publication | None) -> dict[str, object]:
    """What the dialog begins with: what was wished last, else a private repository of the own account."""
    account = offer.account
    own = f"{account.name}/{job.name}" if account else ""
    wish = last.wish if last else None
    return {
        "job": job.id,
        "asking": offer.is_asking,
        "problem": offer.problem,
        "account": account.name if account else "",
        "reads_only": account is not None and not account.may_write,
        "places": [f"{name}/{job.name}" for name in (account.name, *account.organisations)] if account else [],
        "parents": [[parent.name, parent.licence or say("publish.licence_unknown")] for parent in offer.parents],
        "repository": wish.repository if wish else own,
        "licence": (wish.licence if wish else None) or offer.licence,
        "public": wish is not None and wish.is_public,
        "pull_request": wish is not None and wish.as_pull_request,
        "edited": (wish.card if wish else None) or "",
    }
