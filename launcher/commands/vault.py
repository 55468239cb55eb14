"""`authsome vault` and its commands."""

from __future__ import annotations

import json
from pathlib import Path

import click

from launcher.actions.vault_admin import (
    NewKeyInput,
    back_up,
    change_key,
    described_key,
    forget_kept,
    kept_apart,
    kept_keys,
    make_vault,
    put_back,
    verified,
)
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import ExitCode
from launcher.text import report
from launcher.text.render import table

_SOURCES = click.Choice(["file", "passphrase", "keyring", "fd"])

_key_source = click.option(
    "--key-source", type=_SOURCES, help="Where the key comes from; a key file in AUTHSOME_HOME unless given."
)
_same_source = click.option(
    "--key-source", type=_SOURCES, help="Where the new key comes from; as the present one unless given."
)
_passphrase_fd = click.option(
    "--passphrase-fd",
    metavar="N",
    type=click.IntRange(min=3),
    help="Read the new passphrase from this descriptor instead of the terminal.",
)
_key_fd = click.option(
    "--key-fd", metavar="N", type=click.IntRange(min=3), help="Read the new key from this descriptor."
)


@click.group("vault")
def command() -> None:
    """Make, back up and check the vault, and change its key.

    The vault is opened by a key file (AUTHSOME_KEY_FILE names one outside of AUTHSOME_HOME), a
    passphrase (typed, or read from the descriptor AUTHSOME_PASSPHRASE_FD), the system's keyring, or a
    key that is read from the descriptor AUTHSOME_KEY_FD.
    """


@command.command("init")
@_key_source
@_passphrase_fd
@_key_fd
@click.pass_obj
def init(
    invocation: Invocation, key_source: str | None, passphrase_fd: int | None, key_fd: int | None
) -> None:
    """Make an empty vault.

    The first login does this as well, with a key file unless the environment gives a key.
    """
    given = NewKeyInput(key_source, passphrase_fd, key_fd)
    with invocation.app() as app:
        slot = make_vault(app, given)
    report.note(f"made a vault whose key {slot.key_id} comes from: {slot.source}")


@command.command("key")
@options.as_json
@click.pass_obj
def key(invocation: Invocation, as_json: bool) -> None:
    """Show where the vault's key comes from, its id and its age; never the key.

    Former keys that are kept in files are listed as well.
    """
    with invocation.app() as app:
        described, kept = described_key(app), kept_keys(app)
    if as_json:
        click.echo(json.dumps({**described, "kept": kept}, indent=2))
        return
    for name, value in described.items():
        click.echo(f"{name.replace('_', ' ') + ':':<12}{value}")
    for name, place in kept.items():
        click.echo(f"{'kept:':<12}{name} in {place}")


@command.command("forget-key")
@click.argument("key_id", metavar="KEYID")
@click.pass_obj
def forget_key(invocation: Invocation, key_id: str) -> None:
    """Remove a key that the vault had before.

    The backups that were made under it can never be opened again, unless there is a copy of it elsewhere.
    'authsome vault key' lists the keys that are kept in files; what is kept in the system's keyring is
    found by its id alone.
    """
    with invocation.app() as app:
        forget_kept(app, key_id)
    report.note(f"removed the key {key_id}")


@command.command("rekey")
@_same_source
@_passphrase_fd
@_key_fd
@click.pass_obj
def rekey(
    invocation: Invocation, key_source: str | None, passphrase_fd: int | None, key_fd: int | None
) -> None:
    """Give the vault a new key, and seal every record anew.

    The vault can be opened at every moment. The old key alone opens the backups that were made before. It
    stays, in a private file beside the new one or in the system's keyring, until 'authsome vault
    forget-key' removes it; an old passphrase, or a key that is handed over, is yours to keep. A key file
    that AUTHSOME_KEY_FILE names stays as it is, as other vaults may need it, and the new key is written
    beside it.
    """
    given = NewKeyInput(key_source, passphrase_fd, key_fd)
    with invocation.app() as app:
        done = change_key(app, given, report.note)
        apart = kept_apart(app, done.slot)
    for record in done.left:
        report.warning(f"{record} does not open and is left as it was", "see 'authsome vault verify'")
    report.note(
        f"sealed {_records(done.records)} under the new key {done.slot.key_id} from: {done.slot.source}"
    )
    if apart:
        report.note(apart)


@command.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_obj
def backup(invocation: Invocation, path: Path) -> None:
    """Write the vault, encrypted as it is, to a new file.

    The file is one consistent moment of the vault, also while others write to it. It can be opened with
    the vault's present key alone, which is not in it.
    """
    with invocation.app() as app:
        slot, place = back_up(app, path)
    report.note(f"wrote a backup to {path}")
    report.note(f"the key {slot.key_id} is not in it: {place}")


@command.command("restore")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace the vault that is there; it is kept under another name.")
@click.pass_obj
def restore(invocation: Invocation, path: Path, force: bool) -> None:
    """Make the vault what a backup holds.

    A connection that was refreshed after the backup was made needs a new login.
    """
    with invocation.app() as app:
        done = put_back(app, path, force)
    for record in done.damaged:
        report.warning(f"{record} does not open in the backup", "log in again")
    if done.kept:
        report.note(f"the vault that was there is kept as {done.kept}")
    report.note(f"restored {_records(done.records)}")


@command.command("verify")
@options.as_json
@click.pass_obj
def verify(invocation: Invocation, as_json: bool) -> int:
    """Open every record of every profile, and list those that are damaged.

    The exit status is 1 if there are any.
    """
    with invocation.app() as app:
        count, problems = verified(app)
    rows = [(p.record.profile, str(p.record), p.trouble) for p in problems]
    if as_json:
        names = ("profile", "record", "trouble")
        damaged = [dict(zip(names, row, strict=True)) for row in rows]
        click.echo(json.dumps({"records": count, "damaged": damaged}, indent=2))
    elif rows:
        click.echo(table(("PROFILE", "RECORD", "TROUBLE"), rows))
    if rows:
        report.error(
            f"{_records(len(rows))} of {count} cannot be used",
            "log in again, or restore a backup with 'authsome vault restore'",
        )
        return ExitCode.FAILED
    report.note(f"opened {_records(count)}")
    return ExitCode.DONE


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"
