"""Check the types of the package, of the nodes for ComfyUI, of the examples and of the documents, in one run of mypy.

One document is written here: it uses the package wrongly once, and mypy must say so, so that the exports have types.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
USE = """
import latentflow
import latentflow.views
from latentflow.losses import LPIPS, SSIM, Loss, WeightedSum
run = latentflow.invert("x.png", steps=3)
reveal_type(run.result().metrics)
reveal_type(latentflow.load_autoencoder())
latentflow.invert("x.png", steps="three")
latentflow.walk(["x.png", "random:1"], method="slurp")
latentflow.views.walk("x.png", "y.png", evenn=True)
loss: WeightedSum = LPIPS() + 0.1 * SSIM()
one: Loss = SSIM()
text: str = loss.label
wrong: WeightedSum = LPIPS() * "x"
"""
EXPECTED = (
    'Revealed type is "latentflow.inversion.metrics.Metrics"',
    'Revealed type is "latentflow.models.autoencoder.Autoencoder"',
    'Argument "method" to "walk" has incompatible type "Literal[\'slurp\']"',
    'Unexpected keyword argument "evenn" for "walk"; did you mean "even"?',
    '"walk" defined in "latentflow.views"',
    'Unsupported operand types for * ("Loss" and "str")',
    'Argument "steps" to "invert" has incompatible type "str"; expected "int"',
)


def blocks(path: Path) -> list[str]:
    """The blocks of Python in a document."""
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def main() -> int:
    """Run mypy and print what it finds beside what is expected; gives the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        written = [
            blocks(ROOT / "README.md"),
            blocks(ROOT / "docs" / "python.md"),
            blocks(ROOT / "docs" / "extending.md")[:1],
        ]
        for number, code in enumerate([USE, *(code for each in written for code in each)]):
            (Path(folder) / f"block_{number}.py").write_text(code, encoding="utf-8")
        sources = [
            *Path(folder).glob("block_*.py"),
            *(ROOT / "examples").glob("*.py"),
            ROOT / "latentflow",
            ROOT / "integrations",
            ROOT / "tools",
            ROOT / "cli.py",
        ]
        line = [sys.executable, "-m", "mypy", "--no-error-summary", *map(str, sources)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout.replace("builtins.", "").splitlines()
    missing = [each for each in EXPECTED if not any(each in line for line in said)]
    found = [line for line in said if not any(each in line for each in EXPECTED)]
    print("\n".join([*found, *(f"mypy should have said: {each}" for each in missing), done.stderr.strip()]).strip())
    return int(bool(found or missing or done.stderr))


if __name__ == "__main__":
    sys.exit(main())
