"""What a run hides from its program."""

from __future__ import annotations

from pathlib import Path

from launcher.run.isolate import hidden_folders
from launcher.setup.settings import Settings


def test_the_folder_of_a_key_that_is_kept_elsewhere_is_hidden_whole(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "keys").mkdir()
    usual = Settings(tmp_path / "home", "default")
    elsewhere = Settings(tmp_path / "home", "default", key_path=tmp_path / "keys" / "key")

    assert tmp_path / "home" in hidden_folders(usual)
    assert tmp_path / "keys" not in hidden_folders(usual)
    # Former keys lie beside it, whatever the source of the present one is.
    assert {tmp_path / "home", tmp_path / "keys"} <= set(hidden_folders(elsewhere))
