import base64
import json

import pytest

from launcher.run.identities import FOLDERS, JOB, VARIABLES, copies, identities, mounted, token_files

TOKEN = "CANARY-of-a-job-0123"


def web_token(subject: object) -> str:
    parts = ({"alg": "RS256"}, {"iss": "https://ci.example", "sub": subject})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


@pytest.mark.parametrize(
    "name",
    [
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_RUNTIME_TOKEN",
        "ACTIONS_RESULTS_URL",
        "CI_JOB_TOKEN",
        "CI_JOB_JWT",
        "CI_JOB_JWT_V2",
        "SYSTEM_ACCESSTOKEN",
        "system_oidcrequesturi",
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "CIRCLE_OIDC_TOKEN_V2",
        "BITBUCKET_STEP_OIDC_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AZURE_FEDERATED_TOKEN_FILE",
        "IDENTITY_HEADER",
    ],
)
def test_what_a_system_gives_to_show_who_the_job_is_is_an_identity(name: str) -> None:
    assert identities({name: "x", "PATH": "/bin"}) == [name]
    assert identities({name: ""}) == []


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "GITHUB_REPOSITORY", "CI", "CI_JOB_ID", "KUBERNETES_SERVICE_HOST", "AWS_REGION"]
)
def test_what_the_user_means_for_the_program_or_tells_no_more_than_where_it_is_is_none(name: str) -> None:
    assert identities({name: TOKEN}) == []


@pytest.mark.parametrize(
    "value", [TOKEN, f"https://gitlab-ci-token:{TOKEN}@git.example/r.git", f'{{"a":"{TOKEN}"}}']
)
def test_what_holds_the_value_of_one_is_one(value: str) -> None:
    assert identities({"CI_JOB_TOKEN": TOKEN, "MINE": value, "OTHER": TOKEN[:-1]}) == ["CI_JOB_TOKEN", "MINE"]


@pytest.mark.parametrize(
    "value", ["short", "/var/run/token", "https://ci.example/token", "two words of some length"]
)
def test_a_value_that_is_no_token_is_not_looked_for_in_others(value: str) -> None:
    assert copies({"A": value, "B": f"{value}/more"}, ["A"]) == set()


@pytest.mark.parametrize(
    "subject",
    [
        "repo:octo-org/octo-repo:ref:refs/heads/main",
        "project_path:group/project:ref_type:branch:ref:main",
        "system:serviceaccount:default:builder",
        "spiffe://example.org/job",
        "organization:acme:pipeline:deploy:ref:refs/heads/main",
        "org/3f1c/project/8a2b/user/1d",
    ],
)
def test_a_token_that_says_which_job_it_is_is_one_under_any_name(subject: str) -> None:
    assert identities({"CHOSEN_IN_THE_JOB": web_token(subject)}) == ["CHOSEN_IN_THE_JOB"]


@pytest.mark.parametrize(
    "value",
    [
        web_token("auth0|507f1f77"),
        web_token(None),
        web_token(["repo:a"]),
        "ey.ey.x",
        "ey.W10.x",
        "ey.5.x",
        "a.b.c",
    ],
)
def test_another_token_is_not(value: str) -> None:
    assert identities({"TOKEN": value}) == []


def test_every_row_says_whose_it_is_and_no_variable_stands_twice() -> None:
    assert all(row.system and row.variables for row in JOB)
    assert sum(len(row.variables) for row in JOB) == len(VARIABLES)
    assert all(name == name.upper() for name in VARIABLES)


@pytest.mark.parametrize(
    "folder", ["/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io", "/var/run/secrets/tokens"]
)
def test_what_is_mounted_for_a_job_is_hidden(folder: str) -> None:
    assert folder in mounted({}, [])


def test_other_secrets_of_a_container_are_not_hidden() -> None:
    """Docker's and Podman's, which the user may have meant for the program."""
    assert not {"/run/secrets", "/var/run/secrets"} & set(FOLDERS)


def test_a_file_that_a_variable_names_is_hidden_unless_that_variable_is_kept() -> None:
    file = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AZURE_FEDERATED_TOKEN_FILE": "relative"}
    assert token_files(environ) == [file]
    assert set(mounted(environ, [])) == {*FOLDERS, file}
    kept = mounted(environ, ["AWS_WEB_IDENTITY_TOKEN_FILE"])
    assert set(kept) == set(FOLDERS) - {"/var/run/secrets/eks.amazonaws.com"}
