"""What is typed for an action or an input that a message names. Pure.

Nothing below the commands knows what a user types: a message says `<login default/discord/work>` or
`<set writable>`, and whoever shows it puts the words of its own face there. An action is followed by what it
is about, and by inputs: `scopes=a,b`, or the name alone of one that is on or off.
"""

from __future__ import annotations

import re
from typing import Final

from vault.model import DEFAULT_NAME

PROGRAM: Final = "authsome"

ACTIONS: Final = frozenset(
    {
        "confirm",
        "doctor",
        "inspect",
        "list",
        "login",
        "run",
        "vault backup",
        "vault forget-key",
        "vault init",
        "vault key",
        "vault rekey",
    }
)
"""The actions that messages name."""

INPUTS: Final = {
    "allow": "--allow",
    "clean_env": "--clean-env",
    "client_id": "--client-id",
    "client_secret_file": "--client-secret-file",
    "connect_to": "--connect-to",
    "connection": "--connection",
    "force": "--force",
    "home": "--home",
    "keep_env": "--keep-env",
    "key_fd": "--key-fd",
    "key_file": "--key-file",
    "key_source": "--key-source",
    "new_application": "--new-application",
    "no_sandbox": "--no-sandbox",
    "passphrase_fd": "--passphrase-fd",
    "ports": "--allow-port",
    "sandbox": "--sandbox",
    "scopes": "--scopes",
    "sockets": "--allow-socket",
    "writable": "--rw",
}
"""The options by which commands take the inputs that messages name."""

REFERENCE: Final = re.compile(rf"<(?:set (\w+)|({'|'.join(sorted(ACTIONS, reverse=True))})((?: [^<> ]+)*))>")
_KEY: Final = re.compile(r"([^/]+)/([^/]+)/([^/]+)")


def words(text: str) -> str:
    """`text` with what is typed in the place of each reference; in quotes, unless it is all there is."""
    if whole := REFERENCE.fullmatch(text):
        return _typed(whole)
    return REFERENCE.sub(lambda found: _typed(found) if found[1] else f"'{_typed(found)}'", text)


def _typed(found: re.Match[str]) -> str:
    if found[1]:
        return INPUTS.get(found[1], found[0])
    before, after = [PROGRAM], [found[2]]
    for word in found[3].split():
        name, _, value = word.partition("=")
        if key := _KEY.fullmatch(word):
            profile, provider, connection = key.groups()
            before += ["--profile", profile] if profile != DEFAULT_NAME else []
            after += [provider, *(["--connection", connection] if connection != DEFAULT_NAME else [])]
        elif name in INPUTS:
            after += [INPUTS[name], *([value] if value else [])]
        else:
            after.append(word)
    return " ".join([*before, *after])
