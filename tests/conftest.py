"""What holds for every test."""

import hypothesis

# A shared machine may be slow at any time; how fast things are is measured in benchmarks/, never by a timed test.
hypothesis.settings.register_profile("blockmerge", deadline=None)
hypothesis.settings.load_profile("blockmerge")
