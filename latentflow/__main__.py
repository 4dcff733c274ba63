"""`python -m latentflow` is the `latentflow` command."""

from latentflow.cli import main

if __name__ == "__main__":
    main()
