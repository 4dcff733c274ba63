"""The result of a training: its summary, its report.json and its model card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from latentflow.base.options import command_line, counted
from latentflow.runs.report import readable, versions

if TYPE_CHECKING:
    from latentflow.base.errors import LatentflowError
    from latentflow.training.compression import Compression
    from latentflow.training.plan import TrainPlan

NOT_REPEATED = ("resume", "overwrite")  # options that say nothing about the training itself


@dataclass(slots=True, kw_only=True)
class TrainReport:
    """A training that has ended; `error` is the error that ended it early, if any.

    `step` counts the updates, `seconds` is their time, `skipped` counts the files that could not be decoded.
    """

    plan: TrainPlan
    model: str
    parameters: int
    step: int
    seconds: float
    skipped: int
    validation_images: int
    machine: dict[str, str | int]
    compression: Compression
    weights_bytes: int = 0
    error: LatentflowError | None = None

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        options = {key: value for key, value in asdict(self.plan.config).items() if key not in NOT_REPEATED}
        return {
            "outcome": "done" if self.error is None else str(self.error),
            "folder": str(self.plan.folder),
            "model": self.model,
            "parameters": self.parameters,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "corrupt_files": self.skipped,
            "held_back_pictures": self.validation_images,
            "compression": self.compression.as_dict(),
            "options": options,
            "versions": versions(),
            "machine": self.machine,
        }

    def __str__(self) -> str:
        """The summary for people."""
        found = self.compression
        fp16, eight = 16 * found.values_out, 8 * found.values_out
        skipped = f"; {counted(self.skipped, 'file')} skipped that can't be decoded" if self.skipped else ""
        lines = [
            f"wrote     {self.plan.folder} ({self.model}, {self.parameters / 1e6:.2f} M parameters, "
            f"{readable(self.weights_bytes)})",
            f"trained   {counted(self.step, 'step')} in {self.seconds / 60:.1f} minutes{skipped}",
            f"values    {_grouped(found.values_in)} → {_grouped(found.values_out)} for 512 × 512 pixels: "
            f"{found.ratio:g} ×",
            f"bits      {_grouped(8 * found.values_in)} → {_grouped(fp16)} in fp16, PSNR {found.psnr:.2f} dB; "
            f"→ {_grouped(eight)} in 8 bits, {found.psnr_8bit:.2f} dB",
            f"quality   PSNR {found.psnr:.2f} dB, SSIM {found.ssim:.4f} on "
            f"{counted(self.validation_images, 'validation image')}",
            f"scaling   {found.scaling_factor:g}",
            f"channels  {_channels(found, ', ')}",
        ]
        return "\n".join(lines)

    def card(self) -> str:
        """The model card, Markdown."""
        config, found = self.plan.config, self.compression
        data = "images drawn by latentflow.generated" if self.plan.data is None else "a folder of images"
        rows = {
            "Class": f"diffusers `{self.model}`, {self.parameters / 1e6:.2f} million parameters",
            "Training data": data,
            "Command": f"`{self.command()}`",
            "Steps, time": f"{counted(self.step, 'step')}, {self.seconds / 60:.0f} minutes",
            "Machine": ", ".join(f"{key} {value}" for key, value in self.machine.items()),
            "Compression": f"{found.values_in} → {found.values_out} values for 512 × 512 pixels ({found.ratio:g} ×)",
            "Validation": f"PSNR {found.psnr:.2f} dB, SSIM {found.ssim:.4f} on "
            f"{counted(self.validation_images, 'image')}; {found.psnr_8bit:.2f} dB with 8-bit latents",
            "Scaling factor": f"{found.scaling_factor:g}; channels (mean ± standard deviation, not scaled): "
            f"{_channels(found, '; ')}",
            "Loss": f"`{config.loss_type}`",
        }
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        return f"# Model card\n\nAn image autoencoder trained with `latentflow train`.\n\n| | |\n|---|---|\n{table}\n"

    def command(self) -> str:
        """The command that repeats the training."""
        return command_line("train", [], self.plan.config, without=NOT_REPEATED)


def _channels(found: Compression, separator: str) -> str:
    pairs = zip(found.channel_mean, found.channel_std)
    return separator.join(f"{mean:+.3f} ± {std:.3f}" for mean, std in pairs)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
