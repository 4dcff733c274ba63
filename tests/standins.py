"""Random-weight stand-ins: autoencoders of every served class, a hub cache on disk, a hub on the loopback address."""

import contextlib
import hashlib
import json
import math
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import torch
from safetensors.torch import save
from torch import Tensor

from latentflow.models.served import SERVED
from latentflow.models.weight_files import WEIGHTS_FILE

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# As published with sd-vae-ft-mse in 2022: no scaling_factor.
SD_VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.4.2",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
TINY_KL = SD_VAE_CONFIG | {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 32,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
# What can be told without a config: four stages, and 32 groups in each normalization.
LONE_KL = SD_VAE_CONFIG | {"block_out_channels": [32] * 4, "layers_per_block": 1}
LONE_16 = LONE_KL | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
TINY: dict[str, dict[str, Any]] = {
    "kl": TINY_KL,
    "flux-like": TINY_KL
    | {
        "latent_channels": 16,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "block_out_channels": [8, 8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
    },
    "per-channel": TINY_KL
    | {"scaling_factor": 0.5, "latents_mean": [-1.6, 1.1, -0.5, 0.2], "latents_std": [8.4, 5.9, 5.6, 5.3]},
    "asymmetric": {
        "_class_name": "AsymmetricAutoencoderKL",
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "down_block_out_channels": [8, 16],
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "up_block_out_channels": [16, 32],
        "norm_num_groups": 4,
    },
    "tiny": {
        "_class_name": "AutoencoderTiny",
        "encoder_block_out_channels": [8, 8, 8, 8],
        "decoder_block_out_channels": [8, 8, 8, 8],
        "num_encoder_blocks": [1, 1, 1, 1],
        "num_decoder_blocks": [1, 1, 1, 1],
    },
    "dc": {
        "_class_name": "AutoencoderDC",
        "latent_channels": 32,
        "attention_head_dim": 8,
        "encoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"],
        "decoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"],
        "encoder_block_out_channels": [8, 16, 32],
        "decoder_block_out_channels": [8, 16, 32],
        "encoder_layers_per_block": [0, 1, 1],
        "decoder_layers_per_block": [0, 1, 1],
        "encoder_qkv_multiscales": [[], [], [5]],
        "decoder_qkv_multiscales": [[], [], [5]],
        "scaling_factor": 0.41407,
    },
}


def random_model(config: dict[str, Any], seed: int = 0) -> Any:
    """A diffusers model of this config whose weights depend on the seed alone."""
    cls = SERVED[config["_class_name"]].find(config["_class_name"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls.from_config(config).eval()


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention weights as diffusers called them in 2022: query, key, value, proj_attn."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    return {_replaced(name, {f".{new}.": f".{then}." for new, then in old.items()}): x for name, x in state.items()}


def ldm_names(state: dict[str, Tensor], stages: int) -> dict[str, Tensor]:
    """Weights as the original latent-diffusion code called and shaped them: up stages counted from the picture,
    attention as 1 × 1 convolutions."""
    found = {}
    for name, values in state.items():
        for stage in range(stages):
            name = name.replace(f"up_blocks.{stage}.", f"up.{stages - 1 - stage}.", 1)
        changes = {"down_blocks.": "down.", ".downsamplers.0.": ".downsample.", ".upsamplers.0.": ".upsample."}
        changes |= {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "resnets": "block"}
        changes |= {"mid_block.attentions.0": "mid.attn_1", "group_norm": "norm", "conv_shortcut": "nin_shortcut"}
        changes |= {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "conv_norm_out": "norm_out"}
        name = _replaced(name, changes)
        found[name] = values[:, :, None, None] if ".attn_1." in name and values.ndim == 2 else values
    return found


def taesd_names(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The two files of an AutoencoderTiny as TAESD publishes them, without a prefix: the decoder's layers begin with a
    clamp, which counts."""
    files: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for name, values in state.items():
        half, _, place, rest = name.split(".", 3)
        files[half][f"{int(place) + (half == 'decoder')}.{rest}"] = values
    return files


def write_header(path: Path, shapes: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    """A .safetensors file of bfloat16 zeros with these shapes, a hole on the disk: for what is told by a header."""
    header: dict[str, Any] = {"__metadata__": metadata or {}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    content = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(content).to_bytes(8, "little") + content)
        stream.truncate(8 + len(content) + end)
    return path


def shapes_of(config: dict[str, Any]) -> dict[str, Tensor]:
    """The state of a model of this config, without values."""
    with torch.device("meta"):
        state: dict[str, Tensor] = (
            SERVED[config["_class_name"]].find(config["_class_name"]).from_config(config).state_dict()
        )
    return state


def _replaced(name: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        name = name.replace(old, new)
    return name


def model_files(config: dict[str, Any], state: dict[str, Tensor] | None = None) -> dict[str, bytes]:
    """The two files of a published autoencoder, random weights unless some are given."""
    state = random_model(config).state_dict() if state is None else state
    content = save({name: values.contiguous() for name, values in state.items()}, {"format": "pt"})
    return {"config.json": json.dumps(config, indent=2).encode(), WEIGHTS_FILE: content}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Files in a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def blob_name(name: str, content: bytes) -> str:
    """What the hub calls a file's content: its SHA-256 for large files, its git hash for small ones."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def write_cache(cache: Path, repo: str, files: dict[str, bytes], revision: str = "main") -> Path:
    """Files laid out as the hub's client does; returns the snapshot folder."""
    home = cache / f"models--{repo.replace('/', '--')}"
    for name, content in files.items():
        link = home / "snapshots" / COMMIT / name
        for folder in (home / "blobs", home / "refs", link.parent):
            folder.mkdir(parents=True, exist_ok=True)
        blob = home / "blobs" / blob_name(name, content)
        blob.write_bytes(content)
        link.symlink_to(Path(*[".."] * (2 + name.count("/")), "blobs", blob.name))
        (home / "refs" / revision).write_text(COMMIT)
    return home / "snapshots" / COMMIT


class Hub:
    """A hub on 127.0.0.1 that answers HEAD and GET of /{repo}/resolve/{revision}/{file} as the real one does.

    `files` is what it serves, by (repo, revision, file). `mode` makes it misbehave: silent (accepts and never
    answers), broken (503), portal (a login page for every address), corrupt (one byte of each file is wrong), private
    (a token is wanted), gated. `asked` lists the requests that came.
    """

    token = "hf_stand_in"

    def __init__(self) -> None:
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.mode = ""
        self.asked: list[tuple[str, str]] = []
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, repo: str, files: dict[str, bytes], *, revision: str = "main", subfolder: str = "") -> None:
        """Serve files of a repository."""
        prefix = f"{subfolder}/" if subfolder else ""
        self.files |= {(repo, revision, prefix + name): content for name, content in files.items()}

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        repo, _, rest = unquote(path).strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if self.mode == "broken":
            return 503, {}, b""
        if self.mode == "portal":
            return 200, {"Content-Type": "text/html"}, b"<html>Please log in</html>"
        if self.mode == "gated":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if self.mode == "private" and token != f"Bearer {self.token}":
            return 401, {}, b""
        if not any(known == repo for known, _, _ in self.files):
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if not any(known[:2] == (repo, revision) for known in self.files):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if (repo, revision, file) not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        content = self.files[repo, revision, file]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{blob_name(file, content)}"', "Accept-Ranges": "bytes"}
        if self.mode == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        return 200, headers, content

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.asked.append((self.command, self.path))
                if hub.mode == "silent":
                    hub._over.wait(60)
                    return
                status, headers, body = hub._answer(self.path, self.headers.get("Authorization"))
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def folder_server(folder: Path) -> Iterator[str]:
    """The files of a folder on the loopback address; gives the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
