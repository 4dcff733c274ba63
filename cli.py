"""Run latentflow from a checkout: `python cli.py --image_path x.png`."""

from latentflow.cli import program

if __name__ == "__main__":
    program()
