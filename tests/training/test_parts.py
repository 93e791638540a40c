"""The cache of what scans are encoded into."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from xsyn_core.training import parts
from xsyn_core.training.parts import Part, Parts, encode


def squares(some):
    """Of scan k, k + 1 values of k squared."""
    values = np.concatenate([np.full(k + 1, k * k) for k in some])
    return Part({"values": values, "halves": values / 2}, {"lengths": np.array(some) + 1})


def read(found: Parts) -> list[list[float]]:
    lengths = found.table["lengths"]
    rows = []
    for row, start in enumerate(found.starts(lengths)):
        columns, end = found.columns(row), start + lengths[row]
        assert (columns["halves"][start:end] * 2 == columns["values"][start:end]).all()
        rows.append(columns["values"][start:end].tolist())
    return rows


def test_rows_are_found_in_their_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 3)
    folders = encode(range(8), tmp_path / "cache", squares)
    assert [folder.name for folder in folders] == ["00000", "00001", "00002"]
    assert read(Parts(folders, ("values", "halves"))) == [[k * k] * (k + 1) for k in range(8)]


def test_what_was_stopped_goes_on_with_the_missing_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 2)
    seen, killed = [], [[4, 5]]

    def encoded(some):
        seen.append(list(some))
        if seen[-1] in killed:
            killed.clear()
            raise KeyboardInterrupt
        return squares(some)

    with pytest.raises(KeyboardInterrupt):
        encode(range(8), tmp_path, encoded)
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert len(encode(range(8), tmp_path, encoded)) == 4
    assert seen[3:] == [[4, 5], [6, 7]]


def test_a_part_without_anything_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 2)
    broken = encode(range(6), tmp_path, lambda some: None if 2 in some else squares(some))
    assert [folder.name for folder in broken] == ["00000", "00002"]
    assert len(encode(range(6), tmp_path, squares)) == 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_there_may_be_more_parts_than_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 1)
    monkeypatch.setattr(parts, "OPEN", 5)
    folders = encode(range(40), tmp_path, squares)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, before[1]))
    try:
        rows = read(Parts(folders, ("values", "halves")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(rows) == 40


def test_what_is_open_at_once_is_far_from_the_limit():
    # frames have three columns
    assert 3 * parts.OPEN < 1024 / 4
