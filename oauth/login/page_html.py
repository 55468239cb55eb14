"""The HTML of the login page. Pure; every value is escaped, and no secret is ever among them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from oauth.login.page_http import style_hash
from oauth.provider import OAuth2, Provider, StaticKey

MAX_VALUE: Final = 512
"""Characters of a client id, client secret or key that the form takes."""

_STYLE: Final = """
:root { color-scheme: light dark;
  --ground: #f3f4f7; --card: #fff; --ink: #1c1f26; --soft: #596070; --line: #d5d9e2; --accent: #3d4ed8;
  --on-accent: #fff; --field: #fff; --good: #14783c; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14161b; --card: #1e2128; --ink: #e9ebf0; --soft: #a3aabb; --line: #3a3f4b; --accent: #93a0ff;
  --on-accent: #11131a; --field: #15171d; --good: #62d08f; --bad: #ff8f87; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--ground); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { width: 100%; max-width: 35rem; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 14px; }
header { margin: 0 0 1.5rem; color: var(--soft); font-size: .875rem; font-weight: 600; }
h1 { margin: 0 0 .75rem; font-size: 1.5rem; line-height: 1.25; }
h1.good::before, h1.bad::before { display: block; width: 3rem; height: 3rem; margin: 0 0 1rem;
  border: 2px solid; border-radius: 50%; text-align: center; font-size: 1.5rem; line-height: 2.75rem; }
h1.good::before { content: "\\2713"; color: var(--good); }
h1.bad::before { content: "!"; color: var(--bad); font-weight: 700; }
p { margin: 0 0 1rem; } p:last-child { margin: 0; }
ol { margin: 0 0 1.5rem; padding-left: 1.5rem; } li { margin: .35rem 0; }
a { color: var(--accent); }
code { display: block; margin: .25rem 0 1.5rem; padding: .65rem .8rem; overflow-wrap: anywhere;
  background: var(--ground); border: 1px solid var(--line); border-radius: 8px;
  font: .9rem/1.4 ui-monospace, monospace; user-select: all; }
dl { margin: 0 0 1rem; display: grid; grid-template-columns: auto 1fr; gap: .35rem 1.25rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
label, .label { display: block; font-weight: 600; font-size: .925rem; }
input { width: 100%; margin: .3rem 0 1.1rem; padding: .65rem .8rem; background: var(--field);
  color: var(--ink); border: 1px solid var(--soft); border-radius: 8px; font: inherit; }
button { width: 100%; margin: .25rem 0 1rem; padding: .75rem 1rem; background: var(--accent);
  color: var(--on-accent); border: 0; border-radius: 8px; font: inherit; font-weight: 600; cursor: pointer; }
a:focus-visible, input:focus-visible, button:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
.soft { color: var(--soft); font-size: .925rem; }
.problem { padding: .65rem .8rem; border-left: 4px solid var(--bad); background: var(--ground); }
"""

STYLE_SOURCE: Final = style_hash(_STYLE)
"""The Content-Security-Policy source that allows the pages' one style sheet, and nothing else."""


def client_form(provider: Provider, auth: OAuth2, redirect_uri: str, problem: str = "") -> str:
    """The form that asks for the client registration. It goes to the address that it came from."""
    name = provider.display_name
    secret = _field("client_secret", "Client secret", "password") if auth.client_auth != "none" else ""
    return _document(
        f"Connect {name}",
        f"<h1>Connect {escape(name)}</h1>"
        "<p>authsome signs in as an application of your own, "
        f"which you register with {escape(name)} once.</p>"
        f"{_steps(auth.client_setup_steps, auth.client_setup_url)}"
        '<div class="label">Redirect URI, to be registered exactly like this</div>'
        f"<code>{escape(redirect_uri)}</code>"
        f"{_problem(problem)}"
        '<form method="post" autocomplete="off">'
        f"{_field('client_id', 'Client ID', 'text')}{secret}"
        f'<button type="submit">Save and continue to {escape(name)}</button></form>'
        '<p class="soft">Both are encrypted in your vault and used again at every later login.</p>',
    )


def key_form(provider: Provider, auth: StaticKey, problem: str = "") -> str:
    """The form that asks for a static key. It goes to the address that it came from."""
    name = provider.display_name
    steps = (f"Create or copy an API key at {name}",) if auth.key_setup_url else ()
    return _document(
        f"Connect {name}",
        f"<h1>Connect {escape(name)}</h1>"
        f"{_steps(steps, auth.key_setup_url)}{_problem(problem)}"
        '<form method="post" autocomplete="off">'
        f"{_field('key', 'API key', 'password')}"
        '<button type="submit">Save</button></form>'
        '<p class="soft">The key is encrypted in your vault.</p>',
    )


def connected(provider: Provider, account: str | None, scopes: Sequence[str]) -> str:
    """The page after a login that succeeded."""
    rows = [("Account", account)] if account else []
    if scopes:
        rows.append(("Granted", ", ".join(scopes)))
    items = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in rows)
    return _document(
        f"{provider.display_name} is connected",
        f'<h1 class="good">{escape(provider.display_name)} is connected</h1>'
        f"{f'<dl>{items}</dl>' if items else ''}"
        "<p>You can close this page and go back to the terminal.</p>",
    )


def notice(title: str, message: str, hint: str, *, good: bool) -> str:
    """A page that says what happened and what to do next; both in the words of the terminal."""
    what_next = f'<p class="soft">{escape(_sentence(hint))}</p>' if hint else ""
    return _document(
        title,
        f'<h1 class="{"good" if good else "bad"}">{escape(title)}</h1>'
        f"<p>{escape(_sentence(message))}</p>{what_next}",
    )


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} · authsome</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # or the browser would ask for /favicon.ico
        f"<style>{_STYLE}</style></head>"
        f"<body><main><header>authsome</header>{body}</main></body></html>"
    )


def _steps(steps: Sequence[str], url: str | None) -> str:
    items = [escape(step) for step in steps]
    if url:
        link = f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">{escape(url)}</a>'
        items.insert(0, f"Open {link}")
    return f"<ol>{''.join(f'<li>{item}</li>' for item in items)}</ol>" if items else ""


def _field(name: str, label: str, kind: str) -> str:
    return (
        f'<label for="{name}">{label}</label><input id="{name}" name="{name}" type="{kind}" required '
        f'maxlength="{MAX_VALUE}" autocomplete="off" autocapitalize="none" spellcheck="false">'
    )


def _problem(problem: str) -> str:
    return f'<p class="problem" role="alert">{escape(_sentence(problem))}</p>' if problem else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
