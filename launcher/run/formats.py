"""What a secret looks like in a variable. Pure: tables, each row with where it is described.

A user may well have meant such a variable for the program, so that these are told, not taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

NAMES: Final = (
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "SECRET_KEY",
    "PRIVATE_KEY",
    "SIGNING_KEY",
    "ENCRYPTION_KEY",
    "SERVICE_KEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "PAT",
)
"""The last words of the names that people and their tools give to secrets: GITHUB_TOKEN, OPENAI_API_KEY,
AWS_SECRET_ACCESS_KEY, TWINE_PASSWORD, GOOGLE_APPLICATION_CREDENTIALS."""

SHORTEST: Final = 8
"""Characters: what is shorter is no secret, as in `USE_TOKEN=1`, or is in other texts by chance."""


@dataclass(frozen=True, slots=True)
class Format:
    marks: tuple[str, ...]
    """One of them is in every such value; patterns are compiled for values that have one."""
    pattern: str
    source: str


FORMATS: Final = (
    Format(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9_.-]{20}|github_pat_\w{20})",
        "GitHub: types of tokens",
    ),
    Format(
        ("gl",),
        r"\bgl(?:pat|ptt|rt|rtr|dt|cbt|ft|soat|imt|agent|oas|ffct)-[\w-]{15}",
        "GitLab: token overview",
    ),
    Format(
        ("A3T", "AKIA", "ASIA", "ABIA", "ACCA"),
        r"\b(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
        "AWS: unique identifiers of IAM; gitleaks: aws-access-token",
    ),
    Format(("AIza",), r"\bAIza[\w-]{35}", "gitleaks: gcp-api-key"),
    Format(("ya29.",), r"\bya29\.[\w-]{20}", "Google: OAuth 2.0 access tokens"),
    Format(("xox", "xapp-"), r"\b(?:xox[abeoprs](?:\.xox.)?-|xapp-\d-)[\w-]{10}", "Slack: token types"),
    Format(
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/",
        "gitleaks: slack-webhook-url",
    ),
    Format(
        ("/webhooks/",),
        r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/[\w-]{20}",
        "Discord: webhook resource",
    ),
    Format(("M", "N", "O"), r"^[MNO][\w-]{22,29}\.[\w-]{6}\.[\w-]{27,}$", "Discord: a bot's token"),
    Format(
        ("sk-",),
        r"\bsk-[\w-]{20}",
        "OpenAI, Anthropic and others; gitleaks: openai-api-key, anthropic-api-key",
    ),
    Format(("k_",), r"\b[rsw](?:k|hsec)_(?:live|test|prod)_\w{10}", "Stripe: API keys"),
    Format(("whsec_",), r"\bwhsec_[\w+/=]{20}", "Stripe: webhook signatures"),
    Format(("npm_",), r"\bnpm_[A-Za-z0-9]{36}", "npm: access tokens"),
    Format(("pypi-",), r"\bpypi-[\w-]{40}", "PyPI: API tokens"),
    Format(("hf_",), r"\bhf_[A-Za-z0-9]{30}", "Hugging Face: access tokens"),
    Format(("SG.",), r"\bSG\.[\w-]{22}\.[\w-]{43}", "SendGrid: API keys"),
    Format((":",), r"^\d{8,10}:[\w-]{35}$", "Telegram: bot API"),
    Format(("do",), r"\bdo[opr]_v1_[a-f0-9]{64}", "DigitalOcean: token prefixes"),
    Format(("hv", "s."), r"^(?:hv[sbr]\.[\w-]{20,}|s\.[A-Za-z0-9]{24})$", "Vault: token prefixes"),
    Format(("dckr_",), r"\bdckr_[po]at_[\w-]{20}", "Docker: access tokens"),
    Format(("Q~",), r"[\w~.]{3}\dQ~[\w~.-]{31}", "gitleaks: azure-ad-client-secret"),
    Format(("ATATT3", "ATCTT3"), r"\bAT[AC]TT3[\w=-]{50}", "Atlassian: API tokens"),
    Format(("dapi",), r"\bdapi[a-f0-9]{32}", "gitleaks: databricks-api-token"),
    Format(
        (
            "lin_api_",
            "glsa_",
            "glc_",
            "sntrys_",
            "sntryu_",
            "figd_",
            "gsk_",
            "xai-",
            "r8_",
            "pplx-",
            "pul-",
            "ntn_",
        ),
        r"\b(?:lin_api|glsa|glc|sntrys|sntryu|figd|gsk|xai|r8|pplx|pul|ntn)[_-][\w+/=-]{20}",
        "Linear, Grafana, Sentry, Figma, Groq, xAI, Replicate, Perplexity, Pulumi, Notion; gitleaks",
    ),
    Format(("shp",), r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}", "Shopify: token formats"),
    Format(("tskey-",), r"\btskey-[a-z]+-\w{10}", "Tailscale: key prefixes"),
    Format(("dp.",), r"\bdp\.(?:st|ct|pt|sa|scim|audit)\.[\w.-]{20}", "Doppler: token formats"),
    Format(("ops_ey",), r"\bops_ey[\w+/=-]{50}", "1Password: service accounts"),
    Format(("AGE-SECRET-KEY-",), r"AGE-SECRET-KEY-1", "age(1)"),
    Format(("PRIVATE KEY",), r"-----BEGIN [A-Z ]*PRIVATE KEY", "RFC 7468"),
    Format(("ey",), r"\bey[\w-]{10,}\.ey[\w-]{10,}\.[\w-]{10,}", "RFC 7519: JSON Web Token"),
    Format(
        ("AccountKey=", "SharedAccessKey="),
        r"(?:Account|SharedAccess)Key=[\w+/=]{20}",
        "Azure: connection strings",
    ),
    Format(("://",), r"^\w[\w+.-]*://[^\s/:@]*:[^\s/@]+@", "RFC 3986 section 3.2.1: a password in a URL"),
    Format(
        ("earer ", "asic "),
        r"\b[Bb](?:earer|asic) [\w+/=.~-]{16}",
        "RFC 6750, RFC 7617: an Authorization header",
    ),
)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable is called like a secret, or its value has the format of one."""
    if len(value) < SHORTEST:
        return False
    upper = name.upper()
    if any(upper == last or upper.endswith(f"_{last}") for last in NAMES):
        return True
    return any(
        any(mark in value for mark in known.marks) and re.search(known.pattern, value) for known in FORMATS
    )
