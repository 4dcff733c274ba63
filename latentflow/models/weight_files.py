"""The files of a folder that hold an autoencoder's weights."""

import re
from pathlib import Path

from latentflow.base.errors import WeightsError

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
SUFFIXES = (".safetensors", ".sft")
PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files with the weights of a folder or of a lone file; none if a folder has none.

    A folder's are diffusers' own or a variant of it, as fp16. TAESD's decoder and encoder, x_decoder.safetensors and
    x_encoder.safetensors, belong together whichever is named, or alone in a folder. Raises `WeightsError` where there
    are several pairs.
    """
    if path.is_file():
        pair = _pair(path)
        return pair if pair and all(file.is_file() for file in pair) else (path,)
    if (path / WEIGHTS_FILE).is_file():
        return (path / WEIGHTS_FILE,)
    variants = sorted(path.glob(WEIGHTS_FILE.replace(".", ".*.", 1)))
    if variants:
        return (variants[0],)
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES]
    pairs = sorted({pair for file in files if (pair := _pair(file)) and set(pair) <= set(files)})
    if len(pairs) > 1:
        raise WeightsError(
            f"{path} has {len(pairs)} autoencoders.", f"Name one: {' or '.join(str(d) for d, _ in pairs)}"
        )
    return pairs[0] if pairs else ()


def _pair(file: Path) -> tuple[Path, Path] | None:
    """The decoder and the encoder of a TAESD, by the name of one of them."""
    if not re.search("(en|de)coder", file.stem):
        return None
    decoder, encoder = (re.sub("(en|de)coder", half, file.stem) + file.suffix for half in ("decoder", "encoder"))
    return file.with_name(decoder), file.with_name(encoder)
