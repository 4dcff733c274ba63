"""The imports of the server in tests/processes.py: those of every run with the bundled weights.

Libraries that read the environment when they are imported, as huggingface_hub and matplotlib do, are not among them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import latentflow.models.deep_compression
import latentflow.models.loading
import latentflow.runs.run  # noqa: F401
