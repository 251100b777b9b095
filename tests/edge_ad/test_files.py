"""Folders are replaced whole, wherever they are called from, and are still there when that fails."""

import os
from pathlib import Path

import pytest

from edge_ad.files import atomic_folder


@pytest.fixture
def old(tmp_path):
    """A folder that holds one file, alone in its folder."""
    (tmp_path / "folder" / "old").mkdir(parents=True)
    return tmp_path / "folder"


def test_the_folder_one_stands_in_is_replaced(old, monkeypatch):
    monkeypatch.chdir(old)
    with atomic_folder(Path(".")):
        assert os.listdir(".") == ["old"]
    assert os.listdir(".") == os.listdir(old) == []
    assert os.listdir(old.parent) == ["folder"]


def test_what_a_link_leads_to_is_replaced(old, tmp_path):
    (tmp_path / "current").symlink_to(old)
    with atomic_folder(tmp_path / "current") as new:
        (new / "new").mkdir()
    assert (tmp_path / "current").is_symlink()
    assert os.listdir(old) == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["current", "folder"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_rename_leaves_the_folder_where_it_was(failing, old, tmp_path, monkeypatch):
    calls, rename = [], os.replace

    def replace(source, target):
        calls.append(source)
        if len(calls) == failing:
            raise PermissionError("in use")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError, match="in use"), atomic_folder(old):
        pass
    assert os.listdir(old) == ["old"]
    assert os.listdir(tmp_path) == ["folder"]
