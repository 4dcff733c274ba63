"""The text-to-image model that is trained: a Sana transformer, a small CLIP text model and a tokenizer of words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentflow.base.errors import first_line
from latentflow.models.toy import bundled_vae, quiet_libraries
from tools.toy.config import TrainPromptsConfig

TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, POSITIONS = 128, 3, 4, 300  # positions: what SanaPipeline pads prompts to
PATCH, HEAD = 2, 32
PAD, BEGIN, END, UNKNOWN = "<pad>", "<begin>", "<end>", "<unknown>"
TRAINING_NOISES = 1000  # timesteps of the scheduler; noise levels go from 1/1000 to 1


def make_tokenizer(words: list[str], longest: int = 0) -> Any:
    """A tokenizer that gives each word a number, and all others the same one, for prompts of up to `longest` words, at
    least 30."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate([PAD, BEGIN, END, UNKNOWN, *words])}
    made = Tokenizer(WordLevel(numbers, unk_token=UNKNOWN))
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w]+"), " ")])
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(BEGIN, numbers[BEGIN]), (END, numbers[END])]
    made.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=ends)
    named = {"pad_token": PAD, "bos_token": BEGIN, "eos_token": END, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=min(POSITIONS, max(30, longest) + 2), padding_side="right", **named
    )


def make_text_model(tokens: int) -> Any:
    """A small CLIP text model with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=TEXT_HEADS,
            max_position_embeddings=POSITIONS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def make_transformer(config: TrainPromptsConfig, channels: int, rows: int) -> Any:
    """A Sana transformer (Xie et al., 2024) with random weights, for latents of `channels` × `rows` × `rows`."""
    from diffusers import SanaTransformer2DModel

    return SanaTransformer2DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=config.width // HEAD,
        attention_head_dim=HEAD,
        num_layers=config.layers,
        num_cross_attention_heads=config.width // HEAD,
        cross_attention_head_dim=HEAD,
        cross_attention_dim=config.width,
        caption_channels=TEXT_WIDTH,
        sample_size=rows,
        patch_size=PATCH,
        interpolation_scale=1.0,  # with position embeddings, without which corners and centers look alike
    )


class Denoiser(nn.Module):
    """Text model and transformer, trained together."""

    def __init__(self, transformer: Any, text_model: Any) -> None:
        super().__init__()
        self.transformer, self.text_model = transformer, text_model
        nn.init.zeros_(transformer.proj_out.weight)  # as in DiT (Peebles and Xie, 2023)
        nn.init.zeros_(transformer.proj_out.bias)

    def forward(self, noisy: Tensor, noise_level: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """The flow from picture to noise at latents (n, c, rows, columns) with noise levels (n,) in [0, 1], for
        tokens (n, length), of which `mask` (n, length) says which count."""
        text = self.text_model(tokens, attention_mask=mask)[0]
        output: Tensor = self.transformer(
            noisy,
            encoder_hidden_states=text,
            encoder_attention_mask=mask,
            timestep=noise_level * TRAINING_NOISES,
            return_dict=False,
        )[0]
        return output


def flow_loss(output: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
    """The mean squared error of a predicted flow, (n,): noise - latent is the velocity of the straight path between
    them (Lipman et al., 2023; Liu et al., 2023)."""
    return (output - (noise - latent)).square().flatten(1).mean(1)


def make_pipeline(denoiser: Denoiser, tokenizer: Any, vae: Any) -> Any:
    """An ordinary diffusers pipeline of these parts."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SanaPipeline

    made: Any = SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=denoiser.text_model,
        vae=vae,
        transformer=denoiser.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAINING_NOISES),
    )
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def generate(
    pipeline: Any, prompts: list[str], noise: Tensor, *, steps: int = 20, guidance: float = 4.5, latents: bool = False
) -> Tensor:
    """Pictures (n, 3, height, width) in [0, 1] of prompts from noise (n, c, rows, columns), or their latents of about
    unit variance."""
    side = noise.shape[-1] * pipeline.vae_scale_factor
    found: Tensor = pipeline(
        prompts,
        latents=noise.to(pipeline.device),
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=side,
        width=side,
        complex_human_instruction=None,
        use_resolution_binning=False,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        output_type="latent" if latents else "pt",
    ).images
    return found.float().cpu()


def write_pipeline(folder: Path, denoiser: Denoiser, tokenizer: Any) -> None:
    """Write the pipeline as a folder for `from_pretrained`, in fp16; raises OSError where it can't be written."""
    from safetensors import SafetensorError

    half = copy.deepcopy(denoiser).half()
    tokenizer.backend_tokenizer.no_truncation()  # as its last call left them
    tokenizer.backend_tokenizer.no_padding()
    with quiet_libraries():
        made = make_pipeline(half, tokenizer, bundled_vae(torch.float16))
        try:
            made.save_pretrained(folder, safe_serialization=True)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(first_line(error)) from error
