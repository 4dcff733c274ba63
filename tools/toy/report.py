"""The result of the training of a text-to-image model: its summary, its report.json and its model card."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from latentflow.base.options import counted
from latentflow.runs.report import readable, versions
from latentflow.training.report import NOT_REPEATED

if TYPE_CHECKING:
    from latentflow.base.errors import LatentflowError
    from tools.toy.plan import TrainPromptsPlan

BETWEEN = {"noise": "noises", "words": "prompts"}


@dataclass(slots=True, kw_only=True)
class TrainPromptsReport:
    """A training that has ended; `error` is the error that ended it early, if any.

    `step` counts the updates, `seconds` is their time, `images` is the number of training images. `obedience` is None
    for images of a folder, since their contents are unknown. It and `smoothness` are None after a training that ended
    early.
    """

    plan: TrainPromptsPlan
    parameters: dict[str, int]
    step: int
    seconds: float
    images: int
    skipped: int
    words: int
    validation_loss: float
    obedience: dict[str, Any] | None
    smoothness: dict[str, float] | None
    machine: dict[str, str | int]
    weights_bytes: int = 0
    error: LatentflowError | None = None

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        options = {key: value for key, value in asdict(self.plan.config).items() if key not in NOT_REPEATED}
        return {
            "outcome": "done" if self.error is None else str(self.error),
            "folder": str(self.plan.folder),
            "parameters": self.parameters,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "images": self.images,
            "corrupt_files": self.skipped,
            "words": self.words,
            "validation_loss": self.validation_loss,
            "obedience": self.obedience,
            "smoothness": self.smoothness,
            "options": options,
            "versions": versions(),
            "machine": self.machine,
        }

    def __str__(self) -> str:
        """The summary for people."""
        total = sum(self.parameters.values()) / 1e6
        lines = [
            f"wrote     {self.plan.folder} (SanaPipeline, {total:.2f} M parameters without the autoencoder, "
            f"{readable(self.weights_bytes)})",
            f"trained   {counted(self.step, 'step')} in {self.seconds / 60:.1f} minutes on "
            f"{counted(self.images, 'image')}, {counted(self.words, 'word')}",
            f"loss      {self.validation_loss:.4f} on validation images",
        ]
        if self.obedience is not None:
            lines.append(
                "obeyed    "
                + ", ".join(
                    f"{name} {self.obedience['held_out'][name]:.0%} (chance {chance:.0%})"
                    for name, chance in self.obedience["chance"].items()
                )
                + " of held-out prompts"
            )
        if self.smoothness is not None:
            shares = [f"{share:.2f} between two {BETWEEN[name]}" for name, share in self.smoothness.items()]
            lines.append(f"even      largest of 16 steps as a share of the whole way: {', '.join(shares)}")
        return "\n".join(lines)

    def card(self) -> str:
        """The model card, Markdown."""
        data = "scenes drawn by latentflow.generated, with captions"
        if self.plan.data is not None:
            data = "a folder of images with captions"
        rows = {
            "Class": "diffusers `SanaPipeline`: "
            + ", ".join(f"{name} {count / 1e6:.2f} M parameters" for name, count in self.parameters.items()),
            "Training data": f"{counted(self.images, 'image')}: {data}; {counted(self.words, 'word')}",
            "Command": f"`{self.command()}`",
            "Steps, time": f"{counted(self.step, 'step')}, {self.seconds / 60:.0f} minutes",
            "Machine": ", ".join(f"{key} {value}" for key, value in self.machine.items()),
            "Validation": f"flow-matching loss {self.validation_loss:.4f}",
        }
        if self.obedience is not None:
            found = self.obedience
            for name, chance in found["chance"].items():
                rows[f"Prompts obeyed: {name}"] = (
                    f"{found['held_out'][name]:.1%} of {found['held_out']['pictures']} pictures of combinations that "
                    f"were not trained on, {found['trained'][name]:.1%} of others; chance {chance:.1%}; drawn scenes, "
                    f"as the classifier tells them, {found['drawn'][name]:.1%}"
                )
        if self.smoothness is not None:
            shares = [f"{share:.3f} between two {BETWEEN[name]}" for name, share in self.smoothness.items()]
            rows["Largest of 16 steps"] = f"{', '.join(shares)}, as a share of the whole way: 1 is a jump, 0.063 even"
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        return (
            "# Model card\n\nA toy: a small text-to-image model trained with `python -m tools.toy`. It knows only the "
            f"words and things of its training data.\n\n| | |\n|---|---|\n{table}\n"
        )

    def command(self) -> str:
        """The command that repeats the training."""
        default = type(self.plan.config)()
        words = ["python", "-m", "tools.toy"]
        for key, value in asdict(self.plan.config).items():
            if value != getattr(default, key) and key not in NOT_REPEATED:
                words += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        return shlex.join(words)
