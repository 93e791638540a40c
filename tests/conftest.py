"""Models with random weights in the embedded shapes, shared by all tests."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xsyn_core.boxes import of_mask
from xsyn_core.sam_checkpoint import save_sam
from xsyn_core.scan import Annotation, Scan, make_scan
from xsyn_core.segmentation import Segment
from xsyn_core.training import architectures
from xsyn_core.weights import Models, load_models


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> tuple[Path, Path]:
    """A diffusers folder and a SAM file with random weights."""
    root = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = architectures.build_tokenizer()
        unet = architectures.build_unet()
        # Fresh gates are shut: grounding would have no effect.
        for name, parameter in unet.named_parameters():
            if name.endswith(("alpha_attn", "alpha_dense")):
                torch.nn.init.constant_(parameter, 0.7)
        architectures.save_diffusion(
            root / "diffusion",
            unet,
            architectures.build_autoencoder(),
            architectures.build_text_encoder(tokenizer),
            tokenizer,
            architectures.build_scheduler(),
        )
        save_sam(root / "sam.safetensors", architectures.build_sam())
    return root / "diffusion", root / "sam.safetensors"


@pytest.fixture(scope="session")
def tiny_models(tiny_files) -> Models:
    """Both models with random weights, on the CPU."""
    folder, sam = tiny_files
    return load_models(folder, sam, "cpu")


@dataclass(frozen=True)
class FlatColours:
    """Stands in for a segmenter's "everything": each colour of a drawn scan is one segment."""

    segmenter: object

    def everything(self, image: np.ndarray, **_) -> list[Segment]:
        flat = image.reshape(-1, 3)
        found = []
        for colour in np.unique(flat, axis=0):
            mask = (image == colour).all(-1)
            found.append(Segment(mask, of_mask(mask), int(mask.sum()), 1.0, 1.0))
        return sorted(found, key=lambda s: -s.area)

    def __getattr__(self, name: str):
        return getattr(self.segmenter, name)


@pytest.fixture(scope="session")
def drawn_models(tiny_models) -> Models:
    """The random models, with segments that follow the colours of `drawn_scan`."""
    return replace(tiny_models, segmenter=FlatColours(tiny_models.segmenter))


@pytest.fixture(scope="session")
def drawn_scan() -> Scan:
    """A bag of flat colours, 320 x 240: background, bag, three things, one of them annotated."""
    pixels = np.full((240, 320, 3), 250, np.uint8)
    pixels[20:220, 20:300] = (230, 200, 150)
    pixels[40:80, 40:100] = (60, 90, 200)
    pixels[150:200, 60:120] = (200, 120, 40)
    pixels[50:90, 220:260] = (40, 150, 60)
    return make_scan(pixels, "bag.png", (Annotation("Knife", (40.0, 40.0, 100.0, 80.0)),))
