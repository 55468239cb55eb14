"""What a run hands down of its own environment, and what it says about the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from launcher.errors import UsageProblem
from launcher.notices import Notices
from launcher.run.environment import is_ours, passed_on
from launcher.run.inherited import Judged, judge
from oauth.provider import Provider


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `run` about its environment, as typed."""

    kept: Sequence[str] = ()
    clean: bool = False


def credential_names(providers: Sequence[Provider]) -> frozenset[str]:
    """The variables that stand for credentials."""
    return frozenset(
        name
        for provider in providers
        for name in (provider.env.access_token, provider.env.refresh_token, provider.env.api_key)
        if name
    )


def hand_down(
    environ: Mapping[str, str],
    wanted: Wanted,
    providers: Sequence[Provider],
    stored: Collection[str],
    notices: Notices,
) -> dict[str, str]:
    """The variables that a child inherits. `stored` is what the vault holds. Raises: UsageProblem."""
    credentials = credential_names(providers)
    for name in wanted.kept:
        if not name or "=" in name:
            raise UsageProblem(
                f"<set keep_env> {name!r} is not the name of a variable",
                "give the name alone, such as GITHUB_TOKEN",
            )
        if is_ours(name, credentials):
            raise UsageProblem(
                f"<set keep_env> {name} cannot be given: a run sets {name} itself, or takes it out",
                "leave it out",
            )
    secrets = {name for provider in providers for name in provider.env.secrets}
    inherited = passed_on(environ, credentials)
    judged = judge(inherited, secrets=secrets, stored=stored, kept=wanted.kept)
    _tell(judged, wanted, notices)
    removed = {*judged.identities, *judged.managed, *(judged.others if wanted.clean else ())}
    return {name: value for name, value in inherited.items() if name not in removed}


def _tell(judged: Judged, wanted: Wanted, notices: Notices) -> None:
    clean = wanted.clean
    held = [name for name in judged.managed if name in wanted.kept]
    if held:  # what is kept is taken out for one reason alone
        notices.warning(
            f"not passed on in spite of <set keep_env>: {', '.join(held)}",
            "it holds something of your vault, which goes to no program",
        )
    taken = {
        "the job's identity": judged.identities,
        "what authsome holds itself": [name for name in judged.managed if name not in held],
        "perhaps secrets": judged.others if clean else (),
    }
    told = [f"{what} ({', '.join(names)})" for what, names in taken.items() if names]
    if told:
        notices.note(f"not passed on to the program: {'; '.join(told)}; <set keep_env> NAME passes one on")
    if judged.others and not clean:
        names = ", ".join(judged.others)
        notices.warning(
            f"the program gets what may be secrets: {names}; "
            "<set clean_env> takes them out, <set keep_env> NAME says that one is meant"
        )
