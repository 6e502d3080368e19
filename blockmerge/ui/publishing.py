"""Publishing a result as one person does it from the Jobs tab."""

from collections.abc import Mapping
from dataclasses import dataclass

from blockmerge.checkpoints.card import check_card, is_licence
from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.core.wish import Wish
from blockmerge.errors import HubRefusalError, JobRequestError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.publications import Offer, Publication
from blockmerge.jobs.states import Job, JobState
from blockmerge.ui.asked import Asked
from blockmerge.ui.publish_views import offer_value
from blockmerge.ui.tabs import Context
from blockmerge.ui.wording import say

LONGEST_CARD = 200_000  # characters
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Publisher:
    """Every method raises JobRequestError where this person has no such job, or no result of it is here."""

    context: Context
    own: OwnJobs

    def open(self, job_id: int) -> None:
        """Ask the Hub what the dialog of this job needs to know."""
        job = self._done(job_id)
        self.context.offers.ask(self.own.owner, job.id, job.out, self.context.identity.hub_of(self.own.owner))

    def view(self, job_id: int) -> dict[str, object]:
        """What the dialog shows; nothing of a token but that one was given here."""
        job, owner = self.own.get(job_id), self.own.owner
        offer = self.context.offers.look(owner, job_id) or Offer(problem=say("publish.reload"))
        return offer_value(job, offer, self.context.publications.look(job_id)) | {
            "own_token": self.context.identity.is_signed_in_here(owner),
            "address": self.context.identity.address,
            "shared": not self.context.identity.is_private,
        }

    def card(self, job_id: int, repository: str, licence: str) -> Mapping[str, object]:
        """The card as it would be written for this place and licence, or why it cannot be."""
        job = self._done(job_id)
        asked: dict[str, object] = {"job": job_id, "repository": repository, "licence": licence}
        offer = self.context.offers.look(self.own.owner, job_id)
        if offer is None or not offer.parents:
            return asked | {"text": "", "problem": say("publish.reload")}
        from blockmerge.hub.push import card_for, read_repository

        try:
            self._check(repository, licence)
            text = card_for(job.out, read_manifest(job.out), offer.parents, read_repository(repository), licence)
        except HubRefusalError as error:
            return asked | {"text": "", "problem": str(error)}
        return asked | {"text": text, "problem": ""}

    def begin(self, asked: Asked) -> None:
        job = self._done(asked.job)
        from blockmerge.hub.push import read_destination

        hub = self.context.identity.hub_of(self.own.owner)
        if asked.card:
            if len(asked.card) > LONGEST_CARD:
                raise JobRequestError(say("publish.card_long"))
            check_card(asked.card)
        else:
            self._check(asked.repository, asked.licence)
        repository = read_destination(hub, asked.repository[:LONGEST_NAME])
        wish = Wish(repository, asked.licence or None, asked.public, asked.pull_request, asked.card or None)
        self.context.publications.begin(
            job.id,
            job.out,
            Publication(self.own.owner, wish),
            hub,
            lambda address: self.own.store.note_published(job.id, address),
        )

    def stop(self, job_id: int) -> None:
        self.context.publications.stop(self.own.get(job_id).id)

    def sign_in(self, job_id: int, token: str) -> str:
        """Keep a token that the Hub accepts, in memory, for this person alone. Raises SignInError or HubError."""
        name = self.context.identity.take(self.own.owner, token)
        self.open(job_id)
        return say("publish.signed_in_as", name=name)

    def sign_out(self, job_id: int) -> str:
        self.context.identity.sign_out(self.own.owner)
        self.open(job_id)
        return say("publish.signed_out")

    def _check(self, repository: str, licence: str) -> None:
        if not repository or len(repository) > LONGEST_NAME:
            raise HubRefusalError(say("publish.no_place"))
        if not is_licence(licence):
            raise HubRefusalError(say("publish.no_licence"))

    def _done(self, job_id: int) -> Job:
        """Raises JobRequestError."""
        job = self.own.get(job_id)
        if job.state is not JobState.DONE or job.deleted is not None:
            raise JobRequestError(say("publish.not_done", id=job_id))
        if not job.out.is_dir():
            raise JobRequestError(say("publish.not_here"))
        return job
