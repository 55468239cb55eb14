"""By what a job shows who it is: the variables and files that CI systems and clouds give it. Pure: tables.

With them a program can log in elsewhere as the job, or change what the job has built. A row holds what one
system gives; its source is that system's documentation of the variables.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """What one system gives."""

    system: str
    variables: tuple[str, ...]


JOB: Final = (
    IdentityRow(
        "GitHub Actions, Gitea, Forgejo: OpenID Connect reference; actions/toolkit for the runtime",
        (
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "ACTIONS_RUNTIME_TOKEN",
            "ACTIONS_RUNTIME_URL",
            "ACTIONS_RESULTS_URL",
            "ACTIONS_CACHE_URL",
            "GITHUB_CODESPACE_TOKEN",
        ),
    ),
    IdentityRow(
        "GitLab: predefined variables; the last three hold the first, CI_BUILD_TOKEN is its former name",
        (
            "CI_JOB_TOKEN",
            "CI_JOB_JWT",
            "CI_JOB_JWT_V1",
            "CI_JOB_JWT_V2",
            "CI_BUILD_TOKEN",
            "CI_REGISTRY_PASSWORD",
            "CI_DEPENDENCY_PROXY_PASSWORD",
            "CI_REPOSITORY_URL",
        ),
    ),
    IdentityRow("Azure Pipelines: predefined variables", ("SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI")),
    IdentityRow(
        "Buildkite: environment variables; internal job API",
        (
            "BUILDKITE_AGENT_ACCESS_TOKEN",
            "BUILDKITE_AGENT_JOB_API_TOKEN",
            "BUILDKITE_AGENT_JOB_API_SOCKET",
        ),
    ),
    IdentityRow("CircleCI: OpenID Connect tokens", ("CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2")),
    IdentityRow("Bitbucket Pipelines: OpenID Connect", ("BITBUCKET_STEP_OIDC_TOKEN", "PIPELINES_JWT_TOKEN")),
    IdentityRow("Semaphore: OpenID Connect; artifacts", ("SEMAPHORE_OIDC_TOKEN", "SEMAPHORE_ARTIFACT_TOKEN")),
    IdentityRow("Bitrise: build API", ("BITRISE_BUILD_API_TOKEN", "BITRISE_IDENTITY_TOKEN")),
    IdentityRow(
        "Drone, Woodpecker: the login for the repository", ("DRONE_NETRC_PASSWORD", "CI_NETRC_PASSWORD")
    ),
    IdentityRow("Vercel: OpenID Connect federation", ("VERCEL_OIDC_TOKEN",)),
    IdentityRow("HCP Terraform: workload identity tokens", ("TFC_WORKLOAD_IDENTITY_TOKEN",)),
    IdentityRow("Spacelift: OpenID Connect", ("SPACELIFT_OIDC_TOKEN",)),
    IdentityRow("SPIFFE: workload endpoint", ("SPIFFE_ENDPOINT_SOCKET",)),
    IdentityRow(
        "AWS SDKs: web identity and container credential providers",
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
    ),
    IdentityRow(
        "Azure: workload identity; managed identity of App Service and Arc",
        (
            "AZURE_FEDERATED_TOKEN",
            "AZURE_FEDERATED_TOKEN_FILE",
            "IDENTITY_ENDPOINT",
            "IDENTITY_HEADER",
            "MSI_ENDPOINT",
            "MSI_SECRET",
        ),
    ),
)
"""What a job's user sets on purpose, such as GOOGLE_APPLICATION_CREDENTIALS, is not here: see `formats`."""

VARIABLES: Final = frozenset(name for row in JOB for name in row.variables)

FILES: Final = tuple(sorted(name for name in VARIABLES if name.endswith("_FILE")))
"""Those that name a file with the token."""

FOLDERS: Final = tuple(
    f"{top}/secrets/{name}"
    for top in ("/run", "/var/run")
    for name in (
        "kubernetes.io",  # the account of the pod
        "tokens",  # projected tokens, as in the documentation of Kubernetes
        "eks.amazonaws.com",
        "pods.eks.amazonaws.com",
        "azure/tokens",
        "workload-spiffe-credentials",  # Istio
    )
)
"""Where tokens are mounted. What else is in /run/secrets may be meant for the program."""

_SUBJECT: Final = re.compile(
    r"""repo:                    # GitHub
    |project_path:               # GitLab, whose variable has the name that the job chose
    |system:serviceaccount:      # Kubernetes
    |spiffe://
    |organization:.*:pipeline:   # Buildkite
    |organization:.*:workspace:  # HCP Terraform
    |org/.*/project/             # CircleCI
    |sc://                       # Azure Pipelines""",
    re.VERBOSE,
)
"""How the subject of a token begins that says which job it is. OpenID Connect references of these systems."""

_TOKEN_LENGTH: Final = 16
"""Characters from which on the value of a variable is looked for in others: shorter ones come by chance."""


def identities(environ: Mapping[str, str]) -> list[str]:
    """The variables that hold an identity of the job: those of the table, and others with what they hold."""
    named = {name for name, value in environ.items() if name.upper() in VARIABLES and value}
    named |= {name for name, value in environ.items() if _is_job(value)}
    return sorted(named | copies(environ, named))


def copies(environ: Mapping[str, str], names: Iterable[str]) -> set[str]:
    """The variables that hold the value of one of these, such as a URL with a token in it."""
    tokens = [environ[name] for name in names if _is_token(environ[name])]
    return {name for name, value in environ.items() if any(token in value for token in tokens)}


def token_files(environ: Mapping[str, str]) -> list[str]:
    """The files with a token that variables name."""
    return [environ[name] for name in FILES if environ.get(name, "").startswith("/")]


def mounted(environ: Mapping[str, str], kept: Iterable[str]) -> list[str]:
    """What to hide from the program, whether it exists or not; a file whose variable is kept stays."""
    needed = token_files({name: value for name, value in environ.items() if name in set(kept)})
    hidden = [*FOLDERS, *token_files(environ)]
    return [path for path in hidden if not any(f"{file}/".startswith(f"{path}/") for file in needed)]


def _is_token(value: str) -> bool:
    return len(value) >= _TOKEN_LENGTH and re.search(r"[/\s]", value) is None


def _is_job(value: str) -> bool:
    """Whether it is a JSON Web Token (RFC 7519) of a job."""
    parts = value.split(".")
    if len(parts) != 3 or not value.startswith("ey"):
        return False
    with suppress(ValueError):  # of another shape
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        return isinstance(claims, dict) and bool(_SUBJECT.match(str(claims.get("sub", ""))))
    return False
