"""SAM's mask decoder for many prompts on one image, with the same weights and fewer operations.

`segment_anything` repeats the image tokens for every prompt and projects all of them to keys,
values and queries. The few prompt tokens can carry the projections instead: q . (W k) = (W^T q) . k
and sum w (W x) = W (sum w x). Then every product over image tokens is one narrow matrix product,
the first layer shares its image tokens among all prompts, and only the masks somebody asks for
are upscaled. The result differs by rounding alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from xsyn_core.sam_detail import DetailDecoder


class _Attention:
    """Folded weights of one cross-attention between prompt tokens and image tokens."""

    def __init__(self, module: Any):
        self.heads = module.num_heads
        self.size = module.internal_dim // module.num_heads
        self.module = module

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, I) to (B, H, T, I / H)."""
        return x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)

    def _split(self, weight: Tensor) -> Tensor:
        """(I, C) to (H, I / H, C)."""
        return weight.unflatten(0, (self.heads, self.size))

    def to_image(self, tokens: Tensor, image: Tensor, placed: Tensor) -> Tensor:
        """Prompt tokens (B, T, C) attend to image tokens (B or 1, N, C); `placed` has positions."""
        m = self.module
        query = self._heads(m.q_proj(tokens)) * self.size**-0.5
        query = (query @ self._split(m.k_proj.weight)).flatten(1, 2)
        weights = torch.softmax(query @ placed.transpose(1, 2), -1)
        value = (weights @ image).unflatten(1, (self.heads, -1))
        value = value @ self._split(m.v_proj.weight).transpose(1, 2)
        value = value.transpose(1, 2).flatten(2) + m.v_proj.bias
        return m.out_proj(value)

    def from_image(self, placed: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Image tokens (B or 1, N, C) attend to prompt tokens (B, T, C); gives (B, N, C)."""
        m = self.module
        key = self._heads(m.k_proj(keys)) * self.size**-0.5
        bias = (key @ m.q_proj.bias.view(self.heads, self.size, 1)).flatten(1, 2)
        key = (key @ self._split(m.q_proj.weight)).flatten(1, 2)
        value = self._heads(m.v_proj(values)) @ self._split(m.out_proj.weight.T)
        logits = key @ placed.transpose(1, 2) + bias
        weights = torch.softmax(logits.unflatten(1, (self.heads, -1)), 2).flatten(1, 2)
        return weights.transpose(1, 2) @ value.flatten(1, 2)


class Decoder:
    """The mask decoder of a `Sam`, for prompts on one image. Without state, so thread-safe.

    Args:
        sam: its mask decoder and prompt encoder are used, float32.
    """

    def __init__(self, sam: Sam):
        decoder = sam.mask_decoder
        transformer = decoder.transformer
        self.prompts = sam.prompt_encoder
        self.decoder = decoder
        self.layers = [
            (
                layer,
                _Attention(layer.cross_attn_token_to_image),
                _Attention(layer.cross_attn_image_to_token),
            )
            for layer in transformer.layers
        ]
        self.final = _Attention(transformer.final_attn_token_to_image)
        if not isinstance(decoder, DetailDecoder):
            first, norm, _, second, _ = decoder.output_upscaling
            self.first, self.second = _as_matrix(first), _as_matrix(second)
            self.norm = (norm.weight, norm.bias, norm.eps)
        self.position = self.prompts.get_dense_pe().flatten(2).transpose(1, 2)  # (1, N, C)

    def attend(self, features: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the transformer.

        Args:
            features: (1, C or more, g, g) from the image encoder.
            prompts: (B, P, C) from the prompt encoder.

        Returns:
            image tokens (B, g * g, C), mask tokens (B, M, C), predicted IoU (B, M).
        """
        decoder = self.decoder
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        prompts = torch.cat([own.expand(len(prompts), -1, -1), prompts], 1)
        image = features[:, : decoder.transformer_dim]
        image = image + self.prompts.no_mask_embed.weight.view(1, -1, 1, 1)
        image = image.flatten(2).transpose(1, 2)
        tokens = prompts
        for layer, to_image, from_image in self.layers:
            if layer.skip_first_layer_pe:
                tokens = layer.self_attn(tokens, tokens, tokens)
            else:
                placed = tokens + prompts
                tokens = tokens + layer.self_attn(placed, placed, tokens)
            tokens = layer.norm1(tokens)
            placed = image + self.position
            tokens = layer.norm2(tokens + to_image.to_image(tokens + prompts, image, placed))
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            change = from_image.from_image(placed, tokens + prompts, tokens)
            bias = layer.cross_attn_image_to_token.out_proj.bias
            image = layer.norm4(change.add_(image + bias))
        attended = self.final.to_image(tokens + prompts, image, image + self.position)
        tokens = self.decoder.transformer.norm_final_attn(tokens + attended)
        count = decoder.num_mask_tokens
        return image, tokens[:, 1 : 1 + count], decoder.iou_prediction_head(tokens[:, 0])

    def masks(self, features: Tensor, image: Tensor, tokens: Tensor, which: range) -> Tensor:
        """Low-resolution logits of the mask tokens `which`.

        Args:
            features: as for `attend`.
            image: (B, g * g, C) from `attend`.
            tokens: (B, M, C) from `attend`.

        Returns:
            float (B, len(which), 4 g, 4 g).
        """
        if isinstance(self.decoder, DetailDecoder):
            return self.decoder.draw(image, tokens, self.decoder.split(features)[1], which)
        mlps = self.decoder.output_hypernetworks_mlps
        hyper = torch.stack([mlps[k](tokens[:, k]) for k in which], 1)
        weight, bias = self.first
        pixels = (image @ weight + bias).unflatten(-1, (4, -1))
        scale, shift, eps = self.norm
        pixels = F.gelu(F.layer_norm(pixels, scale.shape, scale, shift, eps))
        weight, bias = self.second
        pixels = F.gelu((pixels @ weight + bias).unflatten(-1, (4, -1))).flatten(1, 3)
        logits = hyper @ pixels.transpose(1, 2)
        side = self.prompts.image_embedding_size[0]
        # each token is 2 x 2 cells, each of 2 x 2 pixels
        logits = logits.view(*logits.shape[:2], side, side, 2, 2, 2, 2)
        logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7)
        return logits.reshape(*logits.shape[:2], 4 * side, 4 * side)


def _as_matrix(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A transposed convolution of kernel and stride 2 as (C, 4 * D) and (4 * D,)."""
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    return weight.contiguous(), convolution.bias.repeat(4)  # type: ignore[union-attr]
