"""What holds for every test."""

import atexit
import os
import shutil
import tempfile

import hypothesis

# A shared machine may be slow at any time; how fast things are is measured in benchmarks/, never by a timed test.
hypothesis.settings.register_profile("blockmerge", deadline=None)
hypothesis.settings.load_profile("blockmerge")

# The Hub's client reads these when it is first imported, by whichever test that is: nobody's own token and cache,
# and no Xet; tests/hub/test_xet.py has it in children.
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_", "HUGGINGFACE_"))]:
    del os.environ[name]
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="blockmerge-tests-")
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # where nobody answers: a test that asks a Hub starts one
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
