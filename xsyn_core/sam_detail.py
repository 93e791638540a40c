"""A small SAM that sees detail: a convolutional stem, and masks drawn with the image at hand.

SAM projects each patch at once and leaves it to a deep transformer, and to a million pictures, to
learn what an edge is, and its masks are drawn from the tokens alone. A small encoder with little
training does better with convolutions first (Xiao et al., "Early Convolutions Help Transformers
See Better", NeurIPS 2021), and with their output added where masks are upscaled, as in SAM 2
(Ravi et al., 2024).

So that everything else need not know, the encoder packs the details behind the token channels of
its one output, pixels of a token as channels.
"""

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 16
_ENTRY = 4


class Stem(nn.Module):
    """Takes the place of SAM's `PatchEmbed`: residual convolutions at strides 4, 8 and 16.

    Args:
        fine, middle: channels at strides 4 and 8, multiples of 8.
        width: of the transformer.
        in_chans: of the image.
    """

    def __init__(self, fine: int, middle: int, width: int, in_chans: int = 3):
        super().__init__()
        self.enter = nn.Conv2d(in_chans * _ENTRY**2, fine, 3, padding=1)
        self.fine = _Block(fine)
        self.halve = nn.Conv2d(fine, middle, 2, 2)
        self.middle = nn.Sequential(_Block(middle), _Block(middle))
        self.proj = nn.Conv2d(middle, width, 2, 2)
        self.detail = nn.Conv2d(fine, width, 4, 4)
        self.coarse = _Block(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) to (B, H / 16, W / 16, width), as `PatchEmbed`, and the features at strides
        4 and 8."""
        fine = self.fine(self.enter(functional.pixel_unshuffle(x, _ENTRY)))
        middle = self.middle(self.halve(fine))
        tokens = self.coarse(self.proj(middle) + self.detail(fine)).permute(0, 2, 3, 1)
        return tokens, fine, middle


class DetailEncoder(ImageEncoderViT):
    """An image encoder with a `Stem`, whose output holds what `DetailDecoder` adds.

    Args:
        fine, middle: see `Stem`.
        settings: of `ImageEncoderViT`, with a `patch_size` of `STRIDE`.
    """

    def __init__(self, fine: int, middle: int, **settings):
        super().__init__(**settings)
        width, out = settings["embed_dim"], settings["out_chans"]
        self.patch_embed = Stem(fine, middle, width, settings.get("in_chans", 3))
        self.keep_fine = nn.Conv2d(fine, out // 8, 1)
        self.keep_middle = nn.Conv2d(middle, out // 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4 * out_chans, g, g): tokens, then the details at strides 8 and 4."""
        tokens, fine, middle = self.patch_embed(x)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        details = (
            functional.pixel_unshuffle(self.keep_middle(middle), 2),
            functional.pixel_unshuffle(self.keep_fine(fine), 4),
        )
        return torch.cat([self.neck(tokens.permute(0, 3, 1, 2)), *details], 1)


class DetailDecoder(MaskDecoder):
    """A mask decoder for what `DetailEncoder` gives."""

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As in `MaskDecoder`."""
        count = len(sparse_prompt_embeddings)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(count, -1, -1), sparse_prompt_embeddings], 1)
        source, details = split(image_embeddings, self.transformer_dim)
        source = source + dense_prompt_embeddings
        hidden, image = self.transformer(source, image_pe.expand(count, -1, -1, -1), tokens)
        masks = draw(self, image, hidden[:, 1:], details)
        return masks, self.iou_prediction_head(hidden[:, 0])


def split(features: Tensor, width: int) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Take what an encoder gives apart.

    Args:
        features: (B, width or 4 * width, g, g).
        width: channels of the tokens.

    Returns:
        tokens (B, width, g, g); details (B, width / 4, 2 g, 2 g) and (B, width / 8, 4 g, 4 g), or
        None where there are none.
    """
    if features.shape[1] == width:
        return features, None
    middle, fine = features[:, width : 2 * width], features[:, 2 * width :]
    return features[:, :width], (
        functional.pixel_shuffle(middle, 2),
        functional.pixel_shuffle(fine, 4),
    )


def draw(
    decoder: MaskDecoder,
    image: Tensor,
    tokens: Tensor,
    details: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """The logits of mask tokens.

    Args:
        decoder: whose upscaling is used.
        image: (B, g * g, C), out of the transformer.
        tokens: (B, M, C), its mask tokens.
        details: from `split`, of as many images as divide the batch: B / images prompts each.

    Returns:
        (B, M, 4 g, 4 g).
    """
    side = round(image.shape[1] ** 0.5)
    first, norm, activation, second, last = decoder.output_upscaling
    middle, fine = details or (None, None)
    pixels = _added(first(image.transpose(1, 2).unflatten(2, (side, side))), middle)
    pixels = last(_added(second(activation(norm(pixels))), fine))
    mlps = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(tokens[:, k]) for k, mlp in enumerate(mlps)], 1)
    return (weights @ pixels.flatten(2)).unflatten(2, pixels.shape[2:])


def _added(pixels: Tensor, details: Tensor | None) -> Tensor:
    if details is None:
        return pixels
    return (pixels.unflatten(0, (len(details), -1)) + details[:, None]).flatten(0, 1)


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))
