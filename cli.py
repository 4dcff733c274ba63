"""Run latentflow from a checkout: `python cli.py --image_path x.png`."""

from latentflow.cli import main

if __name__ == "__main__":
    main()
