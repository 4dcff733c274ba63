"""Serve the app with an autoencoder that is a Python object.

    python examples/app_of_your_own.py FILE.py:FUNCTION [PORT]

The function takes nothing and returns a `latentflow.Autoencoder`. Without arguments it is the bundled one.
"""

import runpy
import sys

import latentflow


def made_by(text: str) -> latentflow.Autoencoder:
    """What the function of a file, as in "mine.py:load", returns."""
    file, _, function = text.rpartition(":")
    made = runpy.run_path(file)[function]()
    assert isinstance(made, latentflow.Autoencoder)
    return made


if __name__ == "__main__":
    arguments = sys.argv[1:]
    vae = made_by(arguments[0]) if arguments else "bundled"
    latentflow.launch_app(
        vae, port=int(arguments[1]) if len(arguments) > 1 else 8501, session=latentflow.Session(print)
    )
