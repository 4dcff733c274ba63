"""A short run of the fuzzer; the long one is `make fuzz`."""

from pathlib import Path

import pytest
from fuzz import fuzz


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures its memory in /proc")
def test_broken_files_of_every_kind_are_read_or_refused(tmp_path):
    assert fuzz(25, 0, tmp_path) == []
