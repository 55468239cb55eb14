from launcher.run.inherited import Judged, judge

TOKEN = "CANARY-0123456789abcdef"


def judged(kept: tuple[str, ...] = (), **environ: str) -> Judged:
    return judge(environ, secrets={"DISCORD_TOKEN"}, stored={TOKEN, "short"}, kept=kept)


def test_nothing_is_said_of_what_is_no_secret() -> None:
    assert judged(PATH="/bin", LANG="C", EMPTY="", DISCORD_TOKEN="") == Judged((), (), ())


def test_each_variable_stands_where_it_belongs_and_once() -> None:
    found = judged(
        CI_JOB_TOKEN="a-token-of-a-job", DISCORD_TOKEN="b-token-of-a-bot", NPM_TOKEN="c-token-of-npm"
    )
    assert found == Judged(("CI_JOB_TOKEN",), ("DISCORD_TOKEN",), ("NPM_TOKEN",))


def test_names_count_in_any_case_and_copies_count_as_well() -> None:
    assert judged(discord_token="a-token-of-a-bot", MINE="Bot a-token-of-a-bot").managed == (
        "MINE",
        "discord_token",
    )


def test_what_the_vault_holds_is_found_in_any_value() -> None:
    assert judged(A=TOKEN, B=f"Bearer {TOKEN}", C=f'{{"token": "{TOKEN}"}}', D="short").managed == (
        "A",
        "B",
        "C",
    )


def test_what_is_kept_is_judged_no_more_unless_the_vault_holds_it() -> None:
    names = ("CI_JOB_TOKEN", "DISCORD_TOKEN", "NPM_TOKEN", "MINE")
    found = judged(names, CI_JOB_TOKEN="x" * 16, DISCORD_TOKEN="y" * 16, NPM_TOKEN="z" * 16, MINE=TOKEN)
    assert found == Judged((), ("MINE",), ())


def test_what_copies_a_kept_one_is_not_taken_out_for_that() -> None:
    assert judged(("CI_JOB_TOKEN",), CI_JOB_TOKEN="x" * 16, MINE="x" * 16) == Judged((), (), ())
