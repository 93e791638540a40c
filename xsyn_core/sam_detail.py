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
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 16
_ENTRY = 4


class Stem(nn.Module):
    """Takes the place of SAM's `PatchEmbed`: residual convolutions at strides 4, 8 and 16.

    Args:
        fine, middle: channels at strides 4 and 8, multiples of 8.
        depths: blocks at strides 4 and 8.
        narrow: channels inside the block at stride 16.
        width: of the transformer.
        in_chans: of the image.
    """

    def __init__(
        self,
        fine: int,
        middle: int,
        depths: tuple[int, int],
        narrow: int,
        width: int,
        in_chans: int = 3,
    ):
        super().__init__()
        self.enter = nn.Conv2d(in_chans * _ENTRY**2, fine, 3, padding=1)
        self.fine = nn.Sequential(*(Block(fine) for _ in range(depths[0])))
        self.halve = nn.Conv2d(fine, middle, 2, 2)
        self.middle = nn.Sequential(*(Block(middle) for _ in range(depths[1])))
        self.proj = nn.Conv2d(middle, width, 2, 2)
        self.detail = nn.Conv2d(fine, width, 4, 4)
        self.coarse = Block(width, narrow)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) to (B, H / 16, W / 16, width), as `PatchEmbed`, and the features at strides
        4 and 8."""
        fine = self.fine(self.enter(functional.pixel_unshuffle(x, _ENTRY)))
        middle = self.middle(self.halve(fine))
        tokens = self.coarse(self.proj(middle) + self.detail(fine)).permute(0, 2, 3, 1)
        return tokens, fine, middle


class DetailEncoder(ImageEncoderViT):
    """An image encoder with a `Stem`, whose output holds what `DetailDecoder` adds.

    What the transformer found goes back to the finer features, and theirs to its tokens, so that a
    detail knows of what object it may be.

    Args:
        fine, middle: see `Stem`.
        details: channels of what is added at strides 8 and 4.
        depths: blocks at strides 4 and 8, first in the `Stem`, then behind the transformer.
        narrow: see `Stem`.
        settings: of `ImageEncoderViT`, with a `patch_size` of `STRIDE`.
    """

    def __init__(
        self,
        fine: int,
        middle: int,
        details: tuple[int, int],
        depths: tuple[tuple[int, int], tuple[int, int]],
        narrow: int,
        **settings,
    ):
        super().__init__(**settings)
        width = settings["embed_dim"]
        channels = settings.get("in_chans", 3)
        self.patch_embed = Stem(fine, middle, depths[0], narrow, width, channels)
        self.to_middle = nn.Conv2d(width, middle, 1)
        self.middle = nn.Sequential(*(Block(middle) for _ in range(depths[1][1])))
        self.to_fine = nn.Conv2d(middle, fine, 1)
        self.fine = nn.Sequential(*(Block(fine) for _ in range(depths[1][0])))
        self.to_tokens = nn.Conv2d(middle, width, 2, 2)
        self.keep_middle = nn.Conv2d(middle, details[0], 1)
        self.keep_fine = nn.Conv2d(fine, details[1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_chans + 4 * details[0] + 16 * details[1], g, g): tokens, then the
        details at strides 8 and 4."""
        tokens, fine, middle = self.patch_embed(x)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        tokens = tokens.permute(0, 3, 1, 2)
        middle = self.middle(middle + _doubled(self.to_middle(tokens)))
        fine = self.fine(fine + _doubled(self.to_fine(middle)))
        tokens = tokens + self.to_tokens(middle)
        details = (
            functional.pixel_unshuffle(self.keep_middle(middle), 2),
            functional.pixel_unshuffle(self.keep_fine(fine), 4),
        )
        return torch.cat([self.neck(tokens), *details], 1)


class DetailDecoder(MaskDecoder):
    """A mask decoder for what `DetailEncoder` gives.

    SAM upscales each token by itself; here convolutions come in between, so that a mask follows
    what is seen around a pixel and not at it alone.

    Args:
        details: as in `DetailEncoder`; channels of the masks at strides 8 and 4.
        settings: of `MaskDecoder`.
    """

    def __init__(self, details: tuple[int, int], **settings):
        super().__init__(**settings)
        width, (middle, fine) = settings["transformer_dim"], details
        self.details = details
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, middle, 2, 2),
            Block(middle),
            nn.ConvTranspose2d(middle, fine, 2, 2),
            Block(fine),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, fine, 3) for _ in range(self.num_mask_tokens)
        )

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
        source, details = self.split(image_embeddings)
        source = source + dense_prompt_embeddings
        hidden, image = self.transformer(source, image_pe.expand(count, -1, -1, -1), tokens)
        masks = self.draw(image, hidden[:, 1 : 1 + self.num_mask_tokens], details)
        return masks, self.iou_prediction_head(hidden[:, 0])

    def split(self, features: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Take what the encoder gives apart.

        Returns:
            tokens (B, C, g, g); details (B, details[0], 2 g, 2 g) and (B, details[1], 4 g, 4 g).
        """
        middle, fine = self.details
        sizes = [self.transformer_dim, 4 * middle, 16 * fine]
        tokens, at_8, at_4 = features.split(sizes, 1)
        return tokens, (functional.pixel_shuffle(at_8, 2), functional.pixel_shuffle(at_4, 4))

    def draw(
        self,
        image: Tensor,
        tokens: Tensor,
        details: tuple[Tensor, Tensor],
        which: range | None = None,
    ) -> Tensor:
        """The logits of mask tokens.

        Args:
            image: (B, g * g, C), out of the transformer.
            tokens: (B, M, C), all its mask tokens.
            details: from `split`, of as many images as divide the batch: B / images prompts each.
            which: of the M masks; all where not given.

        Returns:
            (B, len(which), 4 g, 4 g).
        """
        side = round(image.shape[1] ** 0.5)
        first, at_8, second, at_4, last = self.output_upscaling
        pixels = first(image.transpose(1, 2).unflatten(2, (side, side)))
        pixels = at_8(_added(pixels, details[0]))
        pixels = last(at_4(_added(second(pixels), details[1])))
        mlps = self.output_hypernetworks_mlps
        chosen = range(len(mlps)) if which is None else which
        weights = torch.stack([mlps[k](tokens[:, k]) for k in chosen], 1)
        return (weights @ pixels.flatten(2)).unflatten(2, pixels.shape[2:])


def _added(pixels: Tensor, details: Tensor) -> Tensor:
    return (pixels.unflatten(0, (len(details), -1)) + details[:, None]).flatten(0, 1)


def _doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W), each cell as four."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class Block(nn.Module):
    """Two 3 x 3 convolutions around which the input passes, (B, width, H, W) to the same, with
    `inner` channels between them, as many as outside where not given."""

    def __init__(self, width: int, inner: int | None = None):
        super().__init__()
        inner = inner or width
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, inner)
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))
