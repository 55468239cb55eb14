"""The protections, each with the edit of the source that removes it and the attacks that then come through.

Data alone. An edit is a file, a text that is in it once, and what it becomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Edit = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Mutation:
    protection: str
    edit: Edit
    attacks: tuple[str, ...]
    """At least one of them gets another verdict than before."""
    level: str = "none"
    options: tuple[str, ...] = ()
    given: Edit | None = None
    """A fault that is there before and after."""

    def __str__(self) -> str:
        return f"{self.level}: {self.protection}"


POLICY, ADDON, FRONT = "proxy/policy.py", "proxy/addon.py", "proxy/front.py"
SPELLING: Final = "proxy/search/spelling.py"
PLAN, ENTER, SURVEY, MOUNTS, MOUNTINFO = (
    f"launcher/isolation/{name}.py"
    for name in ("plan", "inside/enter", "measure/survey", "inside/mounts", "measure/mountinfo")
)
UNVALIDATED: Final = (
    "proxy/engine/handler.py",
    'opts.add_option("validate_inbound_headers", bool, True, "")',
    'opts.add_option("validate_inbound_headers", bool, False, "")',
)
ANY_STATUS: Final = ("proxy/engine/http1.py", "if not _FINAL.fullmatch(lines[0]):", "if False:")
SOME_BODIES: Final = (
    ADDON,
    "return expected_http_body_size(request, response) != 0",
    "return response.status_code >= 200",
)
PATHS: Final = "proxy/paths.py"
WHOLE_SEGMENTS: Final = (
    PATHS,
    "return have.startswith(want) and not _GOES_ON.match(have, len(want))",
    "return have == want",
)
ONLY_ME: Final = ("--allow", "GET /api/*/users/@me")


@dataclass(frozen=True, slots=True)
class Watched:
    """A protection that no attack shows alone, because something else stands behind it as well."""

    protection: str
    edit: Edit
    test: str
    """It fails without the protection."""

    def __str__(self) -> str:
        return self.protection


def tunnels(*names: str) -> tuple[str, ...]:
    return tuple(f"tunnel: {name}" for name in names)


def inside(*names: str) -> tuple[str, ...]:
    return tuple(f"inside: {name}" for name in names)


def endpoints(*names: str) -> tuple[str, ...]:
    return tuple(f"endpoint: {name}" for name in names)


def limits(*names: str) -> tuple[str, ...]:
    return tuple(f"limits: {name}" for name in names)


def echoes(*numbers: int) -> tuple[str, ...]:
    return tuple(f"echo: {number}" for number in numbers)


WIRE: Final = (
    Mutation(
        "the server name is that of the host",
        (POLICY, 'if canonical_host(target.client_sni or "") != host or', "if False and"),
        tunnels("discord, sni evil", "discord, no sni"),
    ),
    Mutation(
        "the Host field names the host",
        (
            POLICY,
            'named[0].decode("latin-1").strip(" \\t"), 443) != target.origin',
            '"discord.com", 443) is None',
        ),
        tunnels("discord, host evil"),
    ),
    Mutation(
        "the Host field names the port",
        (
            POLICY,
            'parse_authority(named[0].decode("latin-1").strip(" \\t"), 443) != target.origin',
            '(parse_authority(named[0].decode("latin-1"), 443) or rules).host != host',
        ),
        inside("host with another port"),
    ),
    Mutation(
        "there is one Host field",
        (POLICY, "if len(named) != 1 or", "if not named or"),
        tunnels("two hosts"),
        given=UNVALIDATED,
    ),
    Mutation(
        "the request line is in origin form",
        (POLICY, 'if target.authority or not target.path.startswith("/"):', "if False:"),
        tunnels("absolute form"),
    ),
    Mutation(
        "methods that echo are not forwarded",
        (POLICY, "if target.method.upper() in ECHOING_METHODS:", "if False:"),
        (*tunnels("trace"), *inside("track")),
    ),
    Mutation(
        "a slot is filled once",
        (POLICY, "if len(filled) > 1:", "if False:"),
        (*tunnels("two authorizations"), *inside("two credentials, one foreign")),
    ),
    Mutation(
        "headers hold no NUL, CR or LF",
        (
            POLICY,
            "if any(_BROKEN.search(name) or _BROKEN.search(value) for name, value in target.headers):",
            "if False:",
        ),
        (*tunnels("folded header"), *inside("nul in a header", "bare return in a header")),
    ),
    Mutation(
        "headers have a size",
        (
            POLICY,
            "for name, value in target.headers) > MAX_HEADERS:",
            "for name, value in target.headers) < 0:",
        ),
        inside("large headers"),
    ),
    Mutation(
        "a credential never goes in clear text",
        (POLICY, "return _refuse(Reason.CLEARTEXT,", "str("),
        ("clear: discord",),
    ),
    Mutation(
        "https needs a tunnel",
        (POLICY, 'if target.asked_scheme not in ("", target.scheme):', "if False:"),
        ("clear: https after http",),
    ),
    Mutation(
        "cleartext answers of a rule host are searched",
        (ADDON, "canonical_host(_origin(flow).host) in self._hosts", "False"),
        ("clear: answer",),
    ),
    Mutation(
        "a credential never goes to a token endpoint",
        (
            POLICY,
            "if any(is_barred(never, path) for never in rule.never_paths for path in paths):",
            "if False:",
        ),
        endpoints("/api/oauth2/token"),
    ),
    Mutation(
        "paths compare without case",
        (PATHS, "text = segment.lower()", "text = segment"),
        endpoints("/api/OAuth2/Token"),
    ),
    Mutation(
        "the token endpoints of every version are known",
        (PATHS, "tail = wanted[-2:]", "tail = ()"),
        endpoints("/api/v10/oauth2/token", "/api/v11/oauth2/token"),
        given=(PATHS, 'want == "*" or', ""),
    ),
    Mutation(
        "paths that can be read in two ways are refused",
        (PATHS, "if in_doubt or", "if False and"),
        (*endpoints("/api/oauth2//token", "/api/./oauth2/token"), *limits("dots")),
    ),
    Mutation(
        "paths compare without parameters",
        (
            PATHS,
            'return "/".join(segment.partition(";")[0].strip() for segment in text.split("/"))',
            "return text",
        ),
        endpoints("/api/oauth2/token;x", "/api/oauth2/token%20"),
        given=WHOLE_SEGMENTS,
    ),
    Mutation(
        "paths compare without a final slash",
        (
            PATHS,
            'return tuple(path.strip("/").split("/")) if path.strip("/") else ()',
            'return tuple(path[1:].split("/"))',
        ),
        endpoints("/api/oauth2/token/"),
        given=(
            PATHS,
            "return any(_alike(tail, given[at : at + 2]) for at in range(len(given) - 1))",
            "return _alike(tail, given[-2:])",
        ),
    ),
    Mutation(
        "what begins like a barred path is barred",
        WHOLE_SEGMENTS,
        endpoints(*(f"/api/oauth2/token{end}" for end in ("%3f", "%23", ".", ".json"))),
    ),
    Mutation(
        "two segments of a barred path are enough",
        (PATHS, "tail = wanted[-2:]", "tail = ()"),
        endpoints("/oauth2/token", "/api/x/oauth2/token", "/api/oauth2/token/x"),
    ),
    Mutation(
        "letters compare in one form",
        (PATHS, 'unicodedata.normalize("NFKD", segment).encode("ascii", "ignore").decode()', "segment"),
        endpoints("/api/oauth2/to%e2%80%8bken"),
    ),
    Mutation(
        "paths are UTF-8",
        (PATHS, "unquote_to_bytes(raw).decode()", 'unquote_to_bytes(raw).decode("latin-1")'),
        endpoints("/api/oauth2%c0%aftoken"),
    ),
    Mutation(
        "a run keeps to its limits",
        (POLICY, "if not permitted(rule.permits, target.method, paths):", "if False:"),
        limits("other path", "other method"),
        options=ONLY_ME,
    ),
    Mutation(
        "every reading of a path is permitted",
        (
            POLICY,
            "permitted(rule.permits, target.method, paths)",
            "permitted(rule.permits, target.method, paths[:1])",
        ),
        limits("encoded query for a segment"),
        options=ONLY_ME,
    ),
    Mutation(
        "methods compare as they are sent",
        (ADDON, 'method=request.data.method.decode("latin-1"),', "method=request.method,"),
        limits("method in small letters"),
        options=ONLY_ME,
    ),
    Mutation(
        "methods are tokens",
        (POLICY, "if not _TOKEN.fullmatch(target.method):", "if False:"),
        inside("escape in the method", "semicolon in the method", "byte in the method"),
    ),
    Mutation(
        "a body is in no other coding than chunks",
        (POLICY, 'coding.strip(b" \\t").lower() != b"chunked"', "False"),
        inside("packed chunks"),
    ),
    Mutation(
        "headers that override the method are not forwarded",
        (POLICY, "if has_header(target.headers, OVERRIDING_METHOD):", "if False:"),
        limits("overridden"),
        options=ONLY_ME,
    ),
    Mutation(
        "headers that override the path are not forwarded",
        (POLICY, "if has_header(target.headers, OVERRIDING_TARGET):", "if False:"),
        inside("path in a header", "path in another header", "X-Forwarded-Prefix header", "Forwarded header"),
    ),
    Mutation(
        "headers are read as CGI reads them",
        (
            "proxy/permits.py",
            'names.fullmatch(_SIGN.sub(b"-", name.lower()))',
            "names.fullmatch(name.lower())",
        ),
        inside("path in another header"),
    ),
    Mutation(
        "a credential does not go with an upgrade",
        (POLICY, 'if slots.values(target.headers, b"upgrade"):', "if False:"),
        inside("upgrade"),
    ),
    Mutation(
        "only the whole value of a slot counts",
        (
            "proxy/slots.py",
            're.fullmatch(rb"(?i:%b) +%b" % (re.escape(scheme.encode()), re.escape(placeholder)), text)'
            " is not None",
            "placeholder in text",
        ),
        inside("token in a longer value"),
    ),
    Mutation(
        "a proxy belongs to its run",
        (FRONT, "if not self._authorised(request):", "if False:"),
        ("proxy: no password", "proxy: of another run"),
    ),
    Mutation(
        "the password is compared",
        (FRONT, "& hmac.compare_digest(password, self._password)", ""),
        ("proxy: wrong password",),
    ),
    Mutation(
        "the user name is compared",
        (FRONT, "hmac.compare_digest(user, USER.encode()) &", ""),
        ("proxy: wrong user",),
    ),
    Mutation(
        "this machine is not dialled",
        ("proxy/dial.py", "[address for address in addresses if not is_own(address)]", "addresses"),
        ("abroad: 127.0.0.1",),
    ),
    Mutation(
        "bodies are searched",
        (ADDON, "response.stream = body\n", "response.stream = True\n"),
        (*echoes(0), *inside("honest")),
    ),
    Mutation(
        "headers are searched",
        (
            ADDON,
            "self._cleanser.headers((reason, *response.headers.fields), own)",
            "reason, *response.headers.fields",
        ),
        echoes(14),
    ),
    Mutation(
        "any number of credentials is looked for",
        (
            "proxy/search/cleanse.py",
            "known = (*self._current, *self._past)",
            "known = (*self._current, *self._past)[1:33]",
        ),
        echoes(0),
    ),
    Mutation(
        "base64 is searched",
        (
            SPELLING,
            "once = _base64_forms(raw)\n",
            "once: list[bytes] = []\n",
        ),
        echoes(5, 6, 7, 8),
    ),
    Mutation(
        "escapes are searched",
        ("proxy/search/scrub.py", "if any(start in text for start in ESCAPE_STARTS):", "if False:"),
        echoes(3, 4),
    ),
    Mutation(
        "escapes within escapes are searched",
        (
            SPELLING,
            "(_REFERENCE, _LOOSE_REFERENCE):\n        for _ in range(_MAX_LAYERS):\n",
            "(_LOOSE_REFERENCE,):\n        for _ in range(1):\n",
        ),
        echoes(21),
    ),
    Mutation(
        "UTF-16 is searched",
        (SPELLING, "found = (raw, wide, ", "found = (raw, "),
        echoes(16),
    ),
    Mutation(
        "base64 of UTF-16 is searched",
        (SPELLING, "*twice, *_base64_forms(wide), ", "*twice, "),
        echoes(20),
    ),
    Mutation(
        "what is split is put together",
        ("proxy/search/scrub.py", "cut = min(whole, search.begins(text))", "cut = len(text)"),
        echoes(15),
    ),
    Mutation(
        "codings are undone",
        ("proxy/search/cleanse.py", "decoders = decoders_for(codings)", "decoders = decoders_for([])"),
        echoes(10, 11, 12, 13),
    ),
    Mutation(
        "every body that is sent on is searched",
        SOME_BODIES,
        echoes(17),
        given=ANY_STATUS,
    ),
    Mutation(
        "an answer has a status",
        ANY_STATUS,
        echoes(17),
        given=SOME_BODIES,
    ),
    Mutation(
        "clients are not told of other ways",
        (ADDON, '_HOP_BY_HOP | {b"alt-svc"}', "_HOP_BY_HOP"),
        ("alternative service",),
    ),
    Mutation(
        "a fault in a hook refuses the request",
        ("proxy/engine/handler.py", "self._fail_closed(hook)", "hook"),
        inside("honest"),
        given=(POLICY, 'if target.scheme != "https":', "raise RuntimeError\n    if True:"),
    ),
    Mutation(
        "a decision of an unknown kind refuses the request",
        (
            ADDON,
            "self._refuse(flow, target, _FAILED)\n                assert_never(unknown)",
            "pass",
        ),
        inside("honest"),
        given=(POLICY, 'if target.scheme != "https":', "return None\n    if True:"),
    ),
    Mutation(
        "inbound messages are validated",
        UNVALIDATED,
        inside("two lengths", "odd transfer coding", "space before the colon", "two transfer codings"),
    ),
    Mutation(
        "no other protocol than HTTP/1.1 is spoken",
        ("proxy/tls.py", 'raise SSL.Error([("", "", "no application protocol")])', "return offered[0]"),
        ("http/2",),
    ),
    Mutation(
        "a wider definition is not used until it is confirmed",
        ("oauth/reach.py", "if agreed == wanted:", "if agreed:"),
        ("forged_provider",),
    ),
    Mutation(
        "a run has its share of the audit",
        ("launcher/run/audit_log.py", "self.share.take(event, now)", "[Entry(event)]"),
        ("flooded_audit",),
    ),
    Mutation(
        "nothing is exported inside of a run",
        ("launcher/actions/export.py", "if RUN_VARIABLE in app.environ:", "if False:"),
        ("export",),
    ),
    Mutation(
        "identities of the job are not passed on",
        ("launcher/run/hand_down.py", "removed = {*judged.identities, ", "removed = {"),
        ("job_variables",),
    ),
    Mutation(
        "nothing is imported from the user's folders",
        ("../bin/authsome", '"$authsome_bin/python" -I -m', '"$authsome_bin/python" -m'),
        ("modules_beside",),
    ),
    Mutation(
        "variables of our own are not passed on",
        ("launcher/run/environment.py", " or name.startswith(OWN_PREFIX)", ""),
        ("own_variables",),
    ),
)
"""Rules of the proxy and of the launcher, which hold at every level."""

ISOLATION: Final = (
    Mutation(
        "the vault is hidden",
        (PLAN, "hidden += [Hide(path), *inside, Seal(path)]", "pass"),
        ("vault_files",),
        "guard",
    ),
    Mutation(
        "the vault is hidden",
        (PLAN, "hidden += [Hide(path), *inside, Seal(path)]", "pass"),
        ("vault_files",),
        "sandbox",
    ),
    Mutation(
        "the vault is fenced off",
        (ENTER, "missing = _fence(plan)", "missing: list[Step] = []"),
        ("vault_files",),
        "landlock",
    ),
    *(
        Mutation(
            "identities of the job are hidden",
            ("launcher/run/isolate.py", ", *filter(os.path.exists, identities)]", "]"),
            ("job_token_file", "job_token_mounted"),
            level,
        )
        for level in ("guard", "landlock", "sandbox")
    ),
    Mutation(
        "other paths to the vault are hidden",
        (
            SURVEY,
            "concealed += [*_by_every_path(path, mounts), *mounted_parts(mounts, path)]",
            "pass",
        ),
        ("alias_files",),
        "guard",
    ),
    Mutation(
        "other paths to the vault are fenced off",
        (
            SURVEY,
            "concealed += [*_by_every_path(path, mounts), *mounted_parts(mounts, path)]",
            "pass",
        ),
        ("alias_files",),
        "landlock",
    ),
    Mutation(
        "sockets are masked",
        (
            PLAN,
            "masked = [Mask(path) for path in found if path not in wishes.sockets]",
            "masked: list[Operation] = []",
        ),
        ("keyring_daemon", "passed_descriptor", "terminal_server"),
        "guard",
    ),
    Mutation(
        "unix sockets are refused",
        (PLAN, "denied=_LIGHT | {Denied.UNIX_SOCKETS}", "denied=_LIGHT"),
        ("keyring_daemon", "passed_descriptor"),
        "landlock",
    ),
    Mutation(
        "io_uring is refused",
        (PLAN, "Denied.HANDLES, Denied.IO_URING}", "Denied.HANDLES}"),
        ("rings",),
        "guard",
    ),
    Mutation(
        "handles are refused",
        (PLAN, "Denied.VSOCK, Denied.HANDLES, ", "Denied.VSOCK, "),
        ("handles",),
        "guard",
    ),
    Mutation(
        "the user's limit of cores is given back",
        (ENTER, "resource.setrlimit(resource.RLIMIT_CORE, plan.facts.core_limit)", "pass"),
        ("own_core_limit",),
        "guard",
    ),
    Mutation(
        "nothing is imported while the program runs",
        ("launcher/startup.py", "sys.meta_path[:] = [Sealed()]", "pass"),
        ("late_module",),
        "guard",
    ),
    Mutation(
        "other paths to sockets are masked",
        (SURVEY, "yield from (alias for alias in aliases(mounts, path) if _is_same(alias, path))", "pass"),
        ("aliased_socket",),
        "guard",
    ),
    Mutation(
        "terminals are private", (PLAN, "*hidden, Terminals(), *", "*hidden, *"), ("other_terminal",), "guard"
    ),
    Mutation(
        "processes are private", (PLAN, "*([Processes()] if proc else []), ", ""), ("process_names",), "guard"
    ),
    Mutation(
        "processes have a namespace",
        (PLAN, "everything = spaces | {Namespace.PID}", "everything = spaces"),
        ("process_names", "process_one"),
        "guard",
    ),
    Mutation(
        "abstract sockets are fenced off",
        (ENTER, "missing = _fence(plan)", "missing: list[Step] = []"),
        ("abstract_socket",),
        "guard",
    ),
    Mutation(
        "typing into a terminal is refused",
        (PLAN, "{Denied.TERMINAL_INPUT, Denied.KEYRING,", "{Denied.KEYRING,"),
        ("type_into_terminal", "type_with_high_bits"),
        "guard",
    ),
    Mutation(
        "sockets to a host are refused",
        (PLAN, "Denied.KEYRING, Denied.VSOCK,", "Denied.KEYRING,"),
        ("virtual_socket",),
        "guard",
    ),
    Mutation(
        "open folders are closed",
        (ENTER, "    _close_folders()\n    with", "    with"),
        ("open_folder", "open_folder_directly"),
        "guard",
    ),
    Mutation(
        "common folders are private",
        (PLAN, '("/var/tmp", 0o1777), ', ""),
        ("temporary_file",),
        "sandbox",
    ),
    Mutation(
        "folders in memory have a bound",
        (MOUNTS, "size={self.size},", ""),
        ("memory",),
        "sandbox",
    ),
    Mutation(
        "folders in memory have one bound",
        (
            MOUNTS,
            "mount(written.part(path, mode), path, None, MS_BIND)",
            'mount("tmpfs", path, "tmpfs", _QUIET, f"mode={mode:o},size={written.size}")',
        ),
        ("memory",),
        "sandbox",
    ),
)
"""Steps of the isolation, in a real run."""

LOGIN: Final = (
    Mutation(
        "the page of a login has a one-time address",
        (
            "oauth/login/page_door.py",
            'if not same_state(self._path, request.path.removesuffix("/")):',
            "if False:",
        ),
        ("login_page",),
        "guard",
    ),
    Mutation(
        "the address is good for one browser",
        ("oauth/login/page_door.py", "if not self.opened and request.method", "if request.method"),
        ("login_seen_address",),
        "guard",
    ),
    Mutation(
        "a callback is taken from that browser alone",
        (
            "oauth/login/page.py",
            "if self.client is None or not self._door.knows(request):",
            "if self.client is None:",
        ),
        ("login_seen_state",),
        "guard",
    ),
    Mutation(
        "a browser is told the address by a private file",
        ("launcher/actions/browser.py", "webbrowser.open(letter.as_uri())", "webbrowser.open(url)"),
        ("login_arguments",),
    ),
)
"""The page of a login that waits while the hostile program runs."""

FOR_ROOT: Final = (
    Mutation(
        "privileges are given up",
        (
            "launcher/isolation/syscalls.py",
            "    known = _known_capabilities()\n    numbers",
            "    return\n    known = _known_capabilities()\n    numbers",
        ),
        ("unmount_everything", "launcher_environment"),
        "guard",
    ),
    Mutation(
        "the code that is executed is frozen",
        (PLAN, "code = [Freeze(path) for path in facts.code]", "code: list[Operation] = []"),
        ("executed_code",),
        "guard",
    ),
    Mutation(
        "the code that is executed is fenced off",
        (PLAN, "read_only=(*facts.code, *(", "read_only=(*facts.code[:0], *("),
        ("executed_code",),
        "landlock",
    ),
    Mutation(
        "the network cannot be listened to",
        (PLAN, "frozenset({2, 13, 16,", "frozenset({2, 16,"),
        ("packet_socket",),
        "landlock",
    ),
    Mutation(
        "the kernel's settings are frozen",
        (PLAN, "*frozen)", ")"),
        ("core_pattern", "kernel_settings", "kernel_programs", "kernel_programs_anew"),
        "guard",
    ),
    Mutation(
        "the kernel's settings are frozen wherever they are mounted",
        (MOUNTINFO, "(kind in _SETTINGS or _below(", "(_below("),
        ("kernel_programs_elsewhere",),
        "guard",
    ),
    Mutation(
        "the kernel's settings are fenced off",
        (PLAN, '("/proc", *facts.system_mounts) if facts.uid == 0 else ()', "()"),
        ("core_pattern", "kernel_settings", "kernel_programs"),
        "landlock",
    ),
    Mutation(
        "the kernel's settings are fenced off wherever they are mounted",
        (PLAN, '("/proc", *facts.system_mounts)', '("/proc", "/sys")'),
        ("kernel_programs_elsewhere",),
        "landlock",
    ),
    Mutation(
        "devices are masked",
        (PLAN, "(*facts.sockets, *facts.secrets, *facts.devices)", "facts.sockets"),
        ("block_device",),
        "guard",
    ),
)
"""Those that keep root apart alone."""

TLS, TEST_TLS = "proxy/tls.py", "tests/proxy/test_tls.py"
UPSTREAM: Final = (
    "context = SSL.Context(SSL.TLS_CLIENT_METHOD)\n    context.set_min_proto_version(SSL.TLS1_2_VERSION)\n"
)
RENEGOTIATION: Final = "    context.set_options(SSL.OP_NO_RENEGOTIATION)\n"

WATCHED: Final = (
    Watched(
        "a common name is no host name",
        (TLS, "_NO_PARTIAL_WILDCARDS | _NEVER_CHECK_SUBJECT)", "_NO_PARTIAL_WILDCARDS)"),
        f"{TEST_TLS}::test_a_common_name_is_no_host_name",
    ),
    Watched(
        "a star in a certificate stands for a whole label",
        (TLS, "_NO_PARTIAL_WILDCARDS | _NEVER_CHECK_SUBJECT)", "_NEVER_CHECK_SUBJECT)"),
        f"{TEST_TLS}::test_a_star_in_a_certificate_stands_for_a_whole_label",
    ),
    Watched(
        "nothing older than TLS 1.2 is spoken",
        (TLS, UPSTREAM, UPSTREAM.replace("1_2", "1")),
        f"{TEST_TLS}::test_nothing_older_than_tls_1_2_is_spoken",
    ),
    Watched(
        "an upstream cannot renegotiate",
        (TLS, UPSTREAM + RENEGOTIATION, UPSTREAM),
        f"{TEST_TLS}::test_an_upstream_cannot_renegotiate",
    ),
    Watched(
        "a common name is no host name to our own requests",
        ("launcher/setup/trust.py", "context.hostname_checks_common_name = False", "pass"),
        "tests/launcher/setup/test_trust.py::test_a_common_name_is_no_host_name_to_our_own_requests",
    ),
    Watched(
        "no library writes down the keys of a connection",
        ("proxy/server.py", "os.environ.pop(name, None)", "pass"),
        "tests/proxy/test_wire.py::test_no_library_writes_down_the_keys_of_a_connection",
    ),
    Watched(
        "what is kept elsewhere is hidden",
        ("launcher/run/isolate.py", "hidden.append(folder)", "pass"),
        "tests/launcher/run/test_isolate.py::test_the_folder_of_a_key_that_is_kept_elsewhere_is_hidden_whole",
    ),
)
