"""Constants of the update rules that the page shares: rules.json, which its build takes in too."""

import json
from pathlib import Path

RULES = json.loads(Path(__file__).with_name("rules.json").read_text(encoding="utf-8"))
