"""Broken files of every kind, by the thousand: `python tests/fuzz.py --count 3000` (or `make fuzz`).

Each is read as the program reads it. What is allowed is to read it, or one clear line; what is not is another
exception, more than a few seconds, or a memory blow-up. What fails is kept in the folder that is named.
"""

import argparse
import io
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402
from safetensors.torch import save  # noqa: E402
from standins import TINY_KL, model_files, write_folder  # noqa: E402
from toys import linear_autoencoder, picture  # noqa: E402

from latentflow.base.errors import LatentflowError  # noqa: E402
from latentflow.base.session import Session  # noqa: E402
from latentflow.base.state import pack  # noqa: E402
from latentflow.explore.concept.run import SCORE_KEYS, Concept, read_concept, write_concept  # noqa: E402
from latentflow.explore.evaluate.score_table import Evaluated, ScoreTable  # noqa: E402
from latentflow.explore.evaluate.scores import Score  # noqa: E402
from latentflow.inversion.objective import Objective, parse  # noqa: E402
from latentflow.inversion.optimize import optimize  # noqa: E402
from latentflow.latents.files import load_latent, save_latent  # noqa: E402
from latentflow.latents.index import read_latents  # noqa: E402
from latentflow.models.autoencoder import load_autoencoder  # noqa: E402
from latentflow.models.layouts import identify  # noqa: E402
from latentflow.models.pickles import convert  # noqa: E402
from latentflow.models.weights import present  # noqa: E402
from latentflow.pictures.files import read_image  # noqa: E402
from latentflow.runs.batch.plan import make_batch_plan  # noqa: E402
from latentflow.runs.config import BatchConfig  # noqa: E402
from latentflow.runs.resume import read_checkpoint  # noqa: E402
from latentflow.sinks.manifest import read_manifest  # noqa: E402
from latentflow.sinks.trajectory import Trajectory, read_trajectory  # noqa: E402
from latentflow.training.models import read_config  # noqa: E402

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "ICO", "TGA", "PPM", "SGI", "JPEG2000", "PCX")
SECONDS, BYTES = 10, 4 * 2**30  # of one file
Case = tuple[bytes, Callable[[Path], object]]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut off, bits flipped, bytes replaced, numbers made huge, parts doubled or gone, or another beginning."""
    broken = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not broken:
            break
        at = rng.randrange(len(broken))
        kind = rng.randrange(7)
        if kind == 0:
            del broken[at:]
        elif kind == 1:
            broken[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            broken[at] = rng.randrange(256)
        elif kind == 3:
            broken[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"99999999")
            )
        elif kind == 4:
            end = at + rng.randrange(64)
            broken[at:at] = broken[at:end]
        elif kind == 5:
            del broken[at : at + rng.randrange(64)]
        else:
            broken[: rng.randrange(1, 9)] = rng.randbytes(8)
    return bytes(broken)


def odd_pictures(image: Image.Image) -> dict[str, bytes]:
    """Pictures whose reading takes more than Pillow's decoders: keys, gamma, texts, depths, several in one file."""
    frames = [image, image.rotate(180), image.rotate(90)]
    texts = PngInfo()
    texts.add_itxt("workflow", "nodes " * 200, zip=True)
    texts.add(b"gAMA", (100000).to_bytes(4, "big"))
    values = np.arange(24 * 16).reshape(24, 16)
    several = {"save_all": True, "append_images": frames[1:]}
    made: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png with a key": (image, "PNG", {"transparency": (1, 2, 3), "pnginfo": texts}),
        "png of four levels": (image.convert("L").quantize(4), "PNG", {"bits": 2, "transparency": 1}),
        "png of 16 bits": (Image.fromarray(values.astype(np.uint16)), "PNG", {"transparency": 7}),
        "png of frames": (image, "PNG", several),
        "tiff of 16 bits": (Image.fromarray(values.astype(np.uint16)), "TIFF", {"compression": "tiff_lzw"}),
        "tiff of floats": (Image.fromarray(values.astype(np.float32)), "TIFF", {}),
        "tiff of pages": (image.convert("CMYK"), "TIFF", several),
        "gif of frames": (image, "GIF", several),
        "mpo": (image, "MPO", several),
        "bmp with alpha": (image.convert("RGBA"), "BMP", {}),
        "tga with alpha": (image.convert("RGBA"), "TGA", {"compression": "tga_rle"}),
    }
    found = {}
    for name, (whole, kind, options) in made.items():
        stream = io.BytesIO()
        whole.save(stream, kind, **options)
        found[name] = stream.getvalue()
    if find_spec("pillow_heif"):
        import pillow_heif

        stream = io.BytesIO()
        pillow_heif.from_pillow(image.resize((64, 64))).save(stream)
        found["heic"] = stream.getvalue()
    return found


def cases(folder: Path) -> dict[str, Case]:
    """A whole file of every kind, and what reads it."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    found: dict[str, Case] = {}
    for name in FORMATS:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, name)
        found[name] = (stream.getvalue(), read_image)
    found |= {name: (content, read_image) for name, content in odd_pictures(Image.fromarray(pixels)).items()}
    toy = linear_autoencoder()
    latent = torch.zeros(1, 4, 4, 4)
    save_latent(folder / "latent", latent, toy, (8, 8))
    found["latent"] = ((folder / "latent").read_bytes(), lambda path: load_latent(path, toy))
    run = optimize(toy, Objective("mse", picture()), latent, steps=3)
    steps = list(run)
    content = pack({"facts": {"options": {"steps": 3}}, "state": run.state(), "best": None})
    found["checkpoint"] = (content, read_checkpoint)
    with Trajectory(folder / "trajectory", {"options": {}}, 1) as sink:
        for step in steps:
            sink.write(step)
    found["trajectory"] = (
        (folder / "trajectory").read_bytes(),
        lambda path: list(read_trajectory(path).steps(lambda each: each)),
    )
    manifest = json.dumps({"options": {"steps": 3, "seed": 1}, "outcome": "done"}).encode()
    found["manifest"] = (manifest, read_manifest)
    config = json.dumps(TINY_KL).encode()
    found["model config"] = (config, lambda path: read_config(str(path)))
    write_folder(folder / "vae", model_files(TINY_KL))

    def autoencoder(path: Path) -> object:
        (folder / "vae" / "config.json").write_bytes(path.read_bytes())
        return load_autoencoder(present(str(folder / "vae")))

    found["autoencoder's config"] = (config, autoencoder)
    weights = save({"decoder.conv_in.weight": torch.zeros(4, 4)})
    found["weights"] = (
        weights,
        lambda path: load_autoencoder(present(str(path.rename(path.with_suffix(".safetensors"))))),
    )
    shapes = {"conv_in": (4, 3, 1, 1), "down.0.block.0.conv2": (4, 4, 1, 1), "mid.attn_1.q": (4, 4, 1, 1)}
    layers = {f"encoder.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    layers |= {f"decoder.{name}.weight": torch.zeros(4, 4, 1, 1) for name in ("conv_in", "conv_out")}
    layouts = {
        "original names": layers,
        "taesd": {"0.weight": torch.zeros(4, 3, 1, 1), "1.conv.0.bias": torch.zeros(4)},
    }
    for name, tensors in layouts.items():
        content = save(tensors, {"modelspec.architecture": "flux"})
        found[name] = (content, lambda path: identify(path, [path]).facts())
    latents = {"latent_tensor": latent, "latent_format_version_0": torch.zeros(0)}
    found["comfy latent"] = (save(latents), lambda path: load_latent(path, toy, "linear"))
    array = io.BytesIO()
    np.save(array, latent.numpy())
    found["npy latent"] = (
        array.getvalue(),
        lambda path: load_latent(path.rename(path.with_suffix(".npy")), toy, "linear:scaled"),
    )
    pickled = io.BytesIO()
    torch.save({"state_dict": {"a": latent}}, pickled)
    found["pickle"] = (pickled.getvalue(), convert)

    def listed(path: Path) -> object:
        return make_batch_plan(
            [str(path.rename(path.with_suffix(".txt")))], BatchConfig(output_dir=str(folder / "out"))
        )

    found["list"] = (b"a.png\n# what\n../b.jpg\n", listed)
    held_out = dict.fromkeys(SCORE_KEYS, 1) | {"interval_95": [0.5, 1.0], "right": [1, 1], "of": [1, 1]}
    concept = Concept(direction=latent, size=(8, 8), names=("a", "b"), kind="means", held_out=held_out)
    write_concept(folder / "direction", concept, toy)
    found["direction"] = ((folder / "direction").read_bytes(), lambda path: str(read_concept(path, toy).held_out))
    (folder / "pictures").mkdir()
    Image.fromarray(pixels).save(folder / "pictures" / "a.png")

    def indexed(path: Path) -> object:
        return read_latents(folder / "pictures", toy, 8, Session(), path=path)

    indexed(folder / "index")
    found["index"] = ((folder / "index").read_bytes(), indexed)
    settings = {"size": "8", "fit": "contain", "dtype": "float32", "lpips_network": "vgg", "background": "white"}
    images = [folder / "pictures" / "a.png"]
    table = ScoreTable(folder / "table", folder / "pictures", images, settings, None)
    with table:
        scores = {0: Score({"psnr": 20.0, "ssim": 0.5})}
        table.write(Evaluated(index=1, total=1, scores=scores, path=images[0], autoencoder="toy", sha256="0" * 64))

    def scored(path: Path) -> object:
        again = ScoreTable(path, folder / "pictures", images, settings, None)
        again.claim({"toy": "0" * 64}, [0])
        return again.known(images[0], "0" * 64, 0)

    found["evaluation's table"] = ((folder / "table").read_bytes(), scored)
    text = b"lpips + 0.1*l1 + sinkhorn(points=8,blur=0.05)"
    found["loss"] = (text, lambda path: parse(path.read_bytes().decode(errors="replace")))
    return found


def attempt(path: Path, read: Callable[[Path], object]) -> str | None:
    """Read a file; gives what is wrong with how that went."""
    signal.alarm(SECONDS)
    began = time.perf_counter()
    try:
        read(path)
    except LatentflowError as error:
        if "\n" in str(error).strip():
            return f"more than one line: {error}"
    except TimeoutError:
        return f"more than {SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {error} after {time.perf_counter() - began:.1f} s"
    finally:
        signal.alarm(0)
    return None


def fuzz(count: int, seed: int, folder: Path) -> list[str]:
    """Read `count` broken files of every kind; gives what went wrong."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, limits[1]))
    wrong = []
    try:
        for name, (content, read) in cases(folder).items():
            rng = random.Random(f"{seed} {name}")
            for number in range(count):
                path = folder / f"{name.replace(' ', '-')}-{number}"
                path.write_bytes(mutated(content, rng))
                kept = path.read_bytes()
                problem = attempt(path, read)
                for left in (path, *(path.with_suffix(suffix) for suffix in (".safetensors", ".txt", ".npy"))):
                    left.unlink(missing_ok=True)
                if problem:
                    path.write_bytes(kept)
                    wrong.append(f"{path}: {problem}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, before)
    return wrong


def main() -> None:
    """Print what went wrong; exit with 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000, help="broken files of every kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where what fails is kept")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="latentflow-fuzz-"))
    folder.mkdir(exist_ok=True)
    wrong = fuzz(arguments.count, arguments.seed, folder)
    print("\n".join(wrong) or f"{arguments.count} broken files of every kind: read, or refused in one line")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
