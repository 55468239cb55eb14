"""What the options before the command say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.setup.app import App


@dataclass(slots=True)
class Invocation:
    """One call of the program; filled while the command line is read."""

    debug: bool = False
    profile: str | None = None
    command: str | None = None
    """The name of the command, for the exit status."""

    def app(self, connect_to: Sequence[str] = ()) -> App:
        """The application in this process's environment. Raises: UsageProblem, LauncherError."""
        # Not at the top: `--help` needs none of what this imports.
        from launcher.errors import LauncherError
        from launcher.setup.app import App
        from launcher.setup.descriptors import key_descriptors
        from launcher.setup.settings import read_settings
        from launcher.startup import inherited_environment
        from launcher.text import report

        key_descriptors(os.environ)  # before anything is opened
        try:
            working_folder = Path.cwd()
        except OSError as error:
            raise LauncherError("the working folder is gone", "change to a folder that exists") from error
        settings = read_settings(
            os.environ,
            user_home=Path.home(),
            working_folder=working_folder,
            profile=self.profile,
            connect_to=connect_to,
        )
        return App(settings, inherited_environment(), report)
