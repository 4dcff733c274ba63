"""Pipelines of diffusers with real classes, random weights and some words, made without a network."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models import AutoencoderDC
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

WIDTH = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.'-@"


def tokenizer():
    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    return CLIPTokenizer(vocab={token: place for place, token in enumerate(tokens)}, merges=[], model_max_length=77)


def text_model(kind=CLIPTextModel, positions=77):
    config = CLIPTextConfig(
        **{"vocab_size": 100, "hidden_size": WIDTH, "intermediate_size": 37, "projection_dim": WIDTH},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": positions},
        **{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
    )
    return kind(config).eval()


def autoencoder_kl(**more):
    return AutoencoderKL(
        **{"block_out_channels": (8, 16), "down_block_types": ("DownEncoderBlock2D",) * 2, "norm_num_groups": 4},
        **{"up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 4, "sample_size": 16} | more,
    ).eval()


def unet(**more):
    return UNet2DConditionModel(
        **{"block_out_channels": (8, 16), "layers_per_block": 1, "sample_size": 8, "norm_num_groups": 4},
        **{"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 4},
        **{"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "in_channels": 4, "out_channels": 4},
        **{"cross_attention_dim": WIDTH} | more,
    ).eval()


def stable_diffusion(seed=0, **scheduling):
    torch.manual_seed(seed)
    return StableDiffusionPipeline(
        vae=autoencoder_kl(),
        text_encoder=text_model(),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, **scheduling),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(seed=0):
    torch.manual_seed(seed)
    wide = {"cross_attention_dim": 2 * WIDTH, "addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return StableDiffusionXLPipeline(
        vae=autoencoder_kl(),
        text_encoder=text_model(),
        text_encoder_2=text_model(CLIPTextModelWithProjection),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet(**wide, projection_class_embeddings_input_dim=6 * 8 + WIDTH),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def sana(seed=0):
    """A pipeline that predicts a flow."""
    torch.manual_seed(seed)
    autoencoder = AutoencoderDC(
        **{"latent_channels": 4, "encoder_block_out_channels": (8, 16), "decoder_block_out_channels": (8, 16)},
        **{"encoder_layers_per_block": (1, 1), "decoder_layers_per_block": (1, 1), "attention_head_dim": 4},
        **{"encoder_qkv_multiscales": ((), ()), "decoder_qkv_multiscales": ((), ())},
        **{"encoder_block_types": ("ResBlock",) * 2, "decoder_block_types": ("ResBlock",) * 2},
    )
    transformer = SanaTransformer2DModel(
        **{"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1},
        **{"num_cross_attention_heads": 2, "cross_attention_head_dim": 8, "cross_attention_dim": 16},
        **{"caption_channels": WIDTH, "sample_size": 8, "patch_size": 1},
    )
    return SanaPipeline(
        tokenizer=tokenizer(),
        text_encoder=text_model(positions=300),
        vae=autoencoder.eval(),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def t5(width=WIDTH):
    config = T5Config(
        **{"vocab_size": 100, "d_model": width, "d_kv": 8, "d_ff": 37, "num_layers": 1, "num_heads": 4},
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config).eval()


def pixart_alpha():
    return pixart(kind=PixArtAlphaPipeline)


def pixart(seed=0, kind=PixArtSigmaPipeline):
    torch.manual_seed(seed)
    transformer = PixArtTransformer2DModel(
        **{"in_channels": 4, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1},
        **{"cross_attention_dim": 16, "caption_channels": WIDTH, "sample_size": 8, "patch_size": 2},
        **{"norm_num_groups": 4, "num_embeds_ada_norm": 1000, "use_additional_conditions": False},
    )
    return kind(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=autoencoder_kl(),
        transformer=transformer.eval(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
    )


def stable_diffusion_3(seed=0):
    torch.manual_seed(seed)
    transformer = SD3Transformer2DModel(
        **{"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1},
        **{"caption_projection_dim": 16, "joint_attention_dim": 2 * WIDTH, "pooled_projection_dim": 2 * WIDTH},
        **{"sample_size": 8, "patch_size": 1, "pos_embed_max_size": 32},
    )
    return StableDiffusion3Pipeline(
        text_encoder=text_model(CLIPTextModelWithProjection),
        text_encoder_2=text_model(CLIPTextModelWithProjection),
        text_encoder_3=t5(2 * WIDTH),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        tokenizer_3=tokenizer(),
        vae=autoencoder_kl(shift_factor=0.1),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def flux(seed=0):
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        **{"in_channels": 16, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1},
        **{"num_single_layers": 1, "joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH, "patch_size": 1},
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        text_encoder=text_model(),
        tokenizer=tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
        vae=autoencoder_kl(shift_factor=0.1),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
