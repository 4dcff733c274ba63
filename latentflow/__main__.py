"""`python -m latentflow` is the `latentflow` command."""

from latentflow.cli import program

if __name__ == "__main__":
    program()
