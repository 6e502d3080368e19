"""`/metrics`: numbers for Prometheus, where BLOCKMERGE_METRICS asks for them. They name no job and no person."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from blockmerge.jobs.metrics import metrics_text
from blockmerge.jobs.store import Store


def metrics_router(store: Store) -> APIRouter:
    router = APIRouter()

    @router.get("/metrics")
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(metrics_text(store.database), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
