"""Plant faults one at a time in a copy of the repository, and count how many the tests notice.

    python tests/plant_faults.py                  all faults; ends with 1 when fewer are noticed than MIN_NOTICED
    python tests/plant_faults.py --of sound       those of one module of tests/planted
    python tests/plant_faults.py --only 4,17      the fourth and the seventeenth alone

Each fault changes what people see or rely on: a picture, a curve, a printed number, what an option does, what is
refused. It is noticed when one of the tests named beside it fails. These must pass in the unchanged copy. Tests of the
page's scripts need Node 20 or newer.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from planted import Fault  # noqa: E402
from planted.app import APP  # noqa: E402
from planted.explore import EXPLORE  # noqa: E402
from planted.first import FIRST  # noqa: E402
from planted.ground import GROUND  # noqa: E402
from planted.guard import GUARD  # noqa: E402
from planted.page import PAGE  # noqa: E402
from planted.pictures import PICTURES  # noqa: E402
from planted.prompts import PROMPTS  # noqa: E402
from planted.runs import RUNS  # noqa: E402
from planted.sound import SOUND  # noqa: E402
from planted.stops import STOPS  # noqa: E402
from planted.training import TRAINING  # noqa: E402

KINDS = {
    "first": FIRST,
    "sound": SOUND,
    "prompts": PROMPTS,
    "app": APP,
    "page": PAGE,
    "pictures": PICTURES,
    "runs": RUNS,
    "explore": EXPLORE,
    "training": TRAINING,
    "guard": GUARD,
    "ground": GROUND,
    "stops": STOPS,
}
FAULTS = tuple(fault for faults in KINDS.values() for fault in faults)
MIN_NOTICED = len(FAULTS) - 6  # a few depend on which packages are there
TIME_LIMIT = 900  # seconds for the tests of one fault
NOT_COPIED = (".venv", ".git", "__pycache__", ".*_cache", "*.egg-info", "build", "dist", "node_modules")
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--browser")


def path_of(test: str) -> str:
    """The path, from the root, of the file that a test is in."""
    file = test.partition("::")[0]
    return f"web/test/{file}" if file.endswith(".js") else f"tests/{file}"


def problems(faults: Iterable[Fault]) -> list[str]:
    """A line for each old text that is not in its file exactly once, and for each test that is missing."""
    found = []
    for number, fault in enumerate(faults, 1):
        count = (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old)
        if count != 1:
            found.append(f"{number}. {fault.what}: found {count} times in {fault.file}:\n    {fault.old}")
        found += [f"{number}. {fault.what}: no test {test}" for test in fault.tests if not _is_there(test)]
    return found


def _is_there(test: str) -> bool:
    path, name = ROOT / path_of(test), test.partition("::")[2]
    if not path.is_file():
        return False
    return not name or re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def tests_fail(copy: Path, tests: tuple[str, ...]) -> bool:
    """Whether one of the tests fails; ends with what was printed when they can't be run."""
    scripts = [path_of(test) for test in tests if test.endswith(".js")]
    modules = [f"tests/{test}" for test in tests if not test.endswith(".js")]
    return (bool(scripts) and _fails(copy, ["node", "--test", *scripts])) or (
        bool(modules) and _fails(copy, [sys.executable, *PYTEST, *modules])
    )


def _fails(copy: Path, line: list[str]) -> bool:
    # no .pyc files, or a stale one could stand in for a changed file
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(line, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        print(f"    no result after {TIME_LIMIT} s")
        return False
    if done.returncode not in (0, 1):
        sys.exit(f"{line[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.returncode == 1


def is_noticed(copy: Path, fault: Fault) -> bool:
    """Whether the tests fail with a fault in the copy, which is as it was afterwards."""
    path = copy / fault.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(fault.old, fault.new), encoding="utf-8")
    try:
        return tests_fail(copy, fault.tests)
    finally:
        path.write_text(before, encoding="utf-8")


def _chosen(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[int]:
    if given.of:
        return [number for number, fault in enumerate(FAULTS, 1) if fault in KINDS[given.of]]
    if not given.only:
        return list(range(1, len(FAULTS) + 1))
    chosen = [int(each) for each in given.only.split(",")]
    if not all(1 <= each <= len(FAULTS) for each in chosen):
        parser.error(f"--only is from 1 to {len(FAULTS)}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant faults and count how many the tests notice.")
    parser.add_argument("--only", metavar="N,M", help="plant the N-th and the M-th fault alone")
    parser.add_argument("--of", choices=KINDS, help="plant the faults of one module of tests/planted")
    parser.add_argument("--no_baseline", action="store_true", help="don't run the tests in the unchanged copy first")
    given = parser.parse_args()
    chosen = _chosen(parser, given)
    if stale := problems(FAULTS):
        sys.exit("\n".join(stale))
    noticed = 0
    with tempfile.TemporaryDirectory(prefix="latentflow-faults-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        names = tuple(dict.fromkeys(name for number in chosen for name in FAULTS[number - 1].tests))
        if not given.no_baseline and tests_fail(copy, names):
            sys.exit(f"The tests fail without a fault: {' '.join(names)}")
        for number in chosen:
            fault, began = FAULTS[number - 1], time.monotonic()
            found = is_noticed(copy, fault)
            noticed += found
            word = "noticed    " if found else "NOT noticed"
            print(f"{number:>3}  {word}  {time.monotonic() - began:4.0f} s  {fault.what}", flush=True)
    print(f"{noticed} of {len(chosen)} faults noticed")
    sys.exit(int(noticed < len(chosen) - (len(FAULTS) - MIN_NOTICED)))


if __name__ == "__main__":
    main()
