"""Bundled models: found by name, whole, and the ones that their cards describe."""

from __future__ import annotations

import shutil

import pytest
from refusals import refusal

from bilevelmorph.models.bundled import BundledModel, bundled_models


@pytest.mark.parametrize("name", bundled_models())
def test_every_card_has_the_checksum_of_its_file(name):
    bundled_models()[name].check()


def test_a_damaged_file_is_refused(tmp_path):
    shutil.copytree(bundled_models()["synthetic"].folder, tmp_path / "synthetic")
    copy = BundledModel("synthetic", tmp_path / "synthetic")
    copy.check()
    content = bytearray(copy.file.read_bytes())
    content[len(content) // 2] ^= 1
    copy.file.write_bytes(content)
    assert "SHA-256" in refusal(copy.check)
