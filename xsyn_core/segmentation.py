"""SAM: pay the encoder once, prompt many; "segment everything"."""

from xsyn_core.sam_checkpoint import load_sam, save_sam

__all__ = ["load_sam", "save_sam"]
