# The page with a worker beside it; also a worker alone or one command: docs/deploy.md.
ARG PYTHON_VERSION=3.12
FROM docker.io/library/python:${PYTHON_VERSION}-slim

# tini ends what a killed merge leaves behind and hands on the signals of `docker stop`.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 blockmerge \
    && mkdir /models /output /data /cache \
    && chown blockmerge:blockmerge /output /data /cache

WORKDIR /app
COPY requirements.txt constraints.txt ./
# Empty: torch as PyPI has it, with CUDA on Linux. For an image without it, the address of PyTorch's CPU wheels.
ARG TORCH_INDEX=
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    --requirement requirements.txt --constraint constraints.txt
COPY app.py README.md LICENSE ./
COPY blockmerge blockmerge
# As pip does with all else: who runs it may not write here, and each process would compile it again.
RUN python -m compileall -q blockmerge

ENV BLOCKMERGE_MODELS=/models \
    BLOCKMERGE_OUTPUT=/output \
    BLOCKMERGE_HOME=/data \
    HF_HOME=/cache \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME ["/output", "/data", "/cache"]
EXPOSE 7860
USER 1000

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "app.py", "--listen", "0.0.0.0"]
