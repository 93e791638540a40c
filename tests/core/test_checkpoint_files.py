"""Files of weights: what is in them is read, and never run."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xsyn_core.checkpoint_files import Foreign, read_checkpoint, tensors_in
from xsyn_core.errors import XsynError

WANTED = "Give the right file."


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Configured:
    """Stands for an object of a library that is not installed."""

    def __init__(self, **values):
        self.__dict__.update(values)


def refused(path):
    with pytest.raises(XsynError) as caught:
        read_checkpoint(path, WANTED)
    return str(caught.value)


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator)
    return {
        "plain": base,
        "view": base.t()[1:3],
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "whole": torch.arange(5),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base + 1),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["file.bin", "file.safetensors", "noending"])
def test_pytorch_files_come_back(tmp_path, tensors, zipped, name):
    path = tmp_path / name
    state = OrderedDict(tensors)
    state._metadata = {"": {"version": 1}}
    torch.save(
        {"model": state, "iters": 3, "names": ["a", ("b", 2.5)]},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    content, metadata = read_checkpoint(path, WANTED)
    assert metadata == {} and content["iters"] == 3 and content["names"] == ["a", ("b", 2.5)]
    found = tensors_in(content["model"])
    assert list(found) == list(tensors)
    for key, tensor in tensors.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor)
        assert not found[key].requires_grad


def test_safetensors_come_back(tmp_path, tensors):
    path = tmp_path / "file.bin"
    save_file({"a": tensors["plain"]}, path, {"format": "pt", "note": "x"})
    content, metadata = read_checkpoint(path, WANTED)
    assert torch.equal(content["a"], tensors["plain"])
    assert metadata == {"format": "pt", "note": "x"}


def hostile_calls(target):
    touch = f"open({str(target)!r}, 'w').close()"
    return {
        "system": Call(os.system, f"touch {target}"),
        "eval": Call(eval, f"open({str(target)!r}, 'w')"),
        "exec": Call(exec, touch),
        "open": Call(open, str(target), "w"),
        "touch": Call(Path.touch, target),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_objects_do_nothing(tmp_path, tensors, zipped):
    target = tmp_path / "ran"
    calls = hostile_calls(target)
    path = tmp_path / "hostile.pth"
    content = {
        "model": {**tensors, **calls},
        "config_dict": {"_content": {"model": Configured(_content=calls, deep=[calls])}},
        **calls,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found, _ = read_checkpoint(path, WANTED)
    assert not target.exists()
    read = tensors_in(found["model"])
    assert all(torch.equal(read[key], tensor) for key, tensor in tensors.items())
    assert set(read) == set(tensors)
    assert found["system"].origin == "posix.system" and found["eval"].origin == "__builtin__.eval"
    inside = found["config_dict"]["_content"]["model"]
    assert isinstance(inside, Foreign) and isinstance(inside.state["deep"][0]["exec"], Foreign)
    # The same file in other hands does run: the test would notice.
    torch.load(path, weights_only=False)
    assert target.exists()


def hand_written(path, code, storage=b""):
    """A PyTorch archive with that pickle and one storage."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", storage)


def tensor_code(count, size, offset=0):
    """Pickle opcodes of {"a": a tensor of `size` over a storage of `count` numbers}."""
    word = struct.Struct("<i").pack
    return (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
        b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + word(count) + b"tQ"
        b"J" + word(offset) + b"J" + word(size) + b"\x85J" + word(1) + b"\x85\x89NtRs."
    )


def test_tensors_stay_within_their_storage(tmp_path):
    path = tmp_path / "file.pth"
    storage = struct.pack("<4f", 1, 2, 3, 4)
    hand_written(path, tensor_code(4, 3, 1), storage)
    assert read_checkpoint(path, WANTED)[0]["a"].tolist() == [2, 3, 4]
    for count, size, offset in ((4, 5, 0), (4, 4, 1), (4, 2, -1), (4, -1, 0), (4, 1 << 30, 0)):
        hand_written(path, tensor_code(count, size, offset), storage)
        assert "beyond its storage" in refused(path)


def test_functions_that_files_name_stay_as_they_are(tmp_path):
    path = tmp_path / "file.pth"
    hand_written(path, b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x05sb.")
    assert "a function is given a state" in refused(path)


def test_what_holds_no_weights_is_named(tmp_path, tensors):
    path = tmp_path / "file.pth"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert "none that PyTorch wrote" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    assert "zip archive, but none that PyTorch wrote" in refused(path)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    assert "TorchScript" in refused(path)
    torch.save(torch.nn.Linear(2, 2), path)
    assert "torch.nn.modules.linear.Linear" in refused(path)
    torch.save([1], path)
    assert "holds a list" in refused(path)
    path.write_bytes(b"\x1f\x8b\x08" + bytes(600))
    assert "neither" in refused(path)
    assert "is a folder" in refused(tmp_path)
    assert "There is no file" in refused(tmp_path / "none.pth")
    assert refused(tmp_path).endswith(WANTED)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_were_cut_short(tmp_path, tensors, zipped):
    path = tmp_path / "file.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        message = refused(path)
        assert "cut short" in message and "again" in message, message


def test_a_mapped_file_is_not_read_at_once(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"a": torch.zeros(1 << 20)}, path)
    content, _ = read_checkpoint(path, WANTED)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(struct.pack("<f", 1.0) * 16)
    assert content["a"].count_nonzero() > 0
