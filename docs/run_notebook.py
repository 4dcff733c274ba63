"""Run the notebook of the examples and keep its pictures, so that it can be read where no widget is shown.

    python docs/run_notebook.py

The state of widgets, which is large and differs from run to run, is left out.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "latent_walk.ipynb"
KEPT = ("text/plain", "text/html", "image/png")  # of what an output holds


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Execute all cells, in the folder of the checkout; raises nbclient's `CellExecutionError`."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    return notebook


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with pictures and text as its only outputs."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.clear()
        for output in cell.get("outputs", []):
            if "data" in output:
                output.data = {kind: value for kind, value in output.data.items() if kind in KEPT}
                if "image/png" in output.data or "text/html" in output.data:
                    output.data["text/plain"] = ""  # an address in memory
    return notebook


if __name__ == "__main__":
    nbformat.write(without_widgets(run(nbformat.read(NOTEBOOK, 4))), NOTEBOOK)
