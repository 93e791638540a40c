"""Which weights are meant: the embedded ones, a local folder or file, a hub id; their hash."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from xsyn_core import catalogs
from xsyn_core.errors import XsynError
from xsyn_core.files import expanded
from xsyn_core.gligen_checkpoint import NEEDED, TOKENIZER_FILES, find_tokenizer

EMBEDDED = "embedded"
ASSETS = Path(__file__).resolve().parents[1] / "assets"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
ORIGINAL = "diffusion_pytorch_model.bin"
# Endings of what is meant as a file, so that a missing one is not looked for on the hub.
SINGLE_FILES = {".bin", ".pth", ".pt", ".ckpt", ".pkl", ".safetensors"}


def diffusion_source(name: str) -> Path:
    """The diffusers folder or original file that is meant; a hub id is fetched.

    Raises:
        XsynError: there is none.
    """
    if name == EMBEDDED:
        folder = ASSETS / "diffusion"
        if not folder.is_dir():
            raise XsynError(
                f"The embedded diffusion model is missing ({folder}). "
                "Restore it from the repository, or name another model."
            )
        return folder
    path = expanded(name)
    # unlike pathlib's, these take names that no file can have
    if os.path.isdir(path):
        return _within(path)
    if os.path.isfile(path):
        return path
    if path.suffix in SINGLE_FILES:
        raise XsynError(f"There is no file {name}. {NEEDED}")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise XsynError(f"There is no folder {name}. {NEEDED}")
    return _within(_download(name))


def _within(folder: Path) -> Path:
    """The original file, where a folder holds it and no parts."""
    alone = not any((folder / part).is_dir() for part in PARTS if part != "tokenizer")
    original = folder / ORIGINAL
    return original if alone and original.is_file() else folder


def _download(repository: str) -> Path:
    # Imported here: only hub ids need it, and it is slow to import.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["model_index.json", catalogs.FILE, ORIGINAL, *(f"{part}/*" for part in PARTS)]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        raise XsynError(
            f"{repository} is neither a local folder nor on this machine yet, and the Hugging Face "
            "hub cannot be reached. Connect to the network once, or copy the model's folder here "
            "and give its path."
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise XsynError(
            f"{repository} could not be fetched from the Hugging Face hub ({reason}). "
            "Check the id and the network, or give the path of a local folder."
        ) from None


def sam_file(name: str) -> Path:
    """The file of SAM weights that is meant, which need not be there.

    Raises:
        XsynError: the embedded one is missing.
    """
    if name != EMBEDDED:
        return expanded(name)
    file = ASSETS / "segmenter" / "sam.safetensors"
    if not file.is_file():
        raise XsynError(
            f"The embedded segmenter is missing ({file}). "
            "Restore it from the repository, or name another SAM file."
        )
    return file


def fingerprint(source: Path, sam_file: Path) -> str:
    """sha256 over the bytes of a SAM file and the names and bytes of a diffusers folder's parts,
    or the bytes of an original GLIGEN file and its tokenizer, as hex.

    Raises:
        XsynError: one of them cannot be read.
    """
    if source.is_file():
        tokenizer = find_tokenizer(source)
        files = [("diffusion", source)]
        files += [(n, tokenizer / n) for n in TOKENIZER_FILES if (tokenizer / n).is_file()]
    else:
        files = [
            (file.relative_to(source).as_posix(), file)
            for part in PARTS
            for file in sorted((source / part).rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        ]
    total = hashlib.sha256()
    for name, file in files:
        total.update(f"{name} {_digest(file)}\n".encode())
    total.update(f"sam {_digest(sam_file)}\n".encode())
    return total.hexdigest()


def _digest(file: Path) -> str:
    try:
        status = file.stat()
        return _digest_of(str(file), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise XsynError(
            f"{file} cannot be read ({error.strerror}). Every file of the models is read, to tell "
            "which ones they are: give yourself permission to read it, or remove it."
        ) from None


@lru_cache(maxsize=256)
def _digest_of(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
