"""The scanner and our own rules: what is found, what is not, and under which name a file is looked at."""

import random
import re
import string
import sys
from base64 import b64encode

import pytest

from cath_dagster.adapters.secret_scanner import NAMED, ScannerMissingError, SecretScanner
from cath_dagster.cloudmake.scan.looking import RULES, load_scanner
from tests.cloudmake.planted import UPPER, github_token, made_up

AWS_ID = made_up("AK" + "IA", 16, alphabet=UPPER)
PEM = "\n".join(made_up("", 64, seed=seed) for seed in range(4))
DIGITS = string.digits
FOUND = {
    "cloudmake.aws-access-key-id": f"id = {AWS_ID}",
    "cloudmake.mapbox-token": f'"{made_up("pk." + "eyJ", 60)}.{made_up("", 22)}"',
    "cloudmake.expo-access-token": f"expo_token: {made_up('', 40)}",
    "cloudmake.resend-api-key": f"key = {made_up('re' + '_0O', 6)}_{made_up('', 24)}",
    "cloudmake.neon-api-key": made_up("neon" + "_api_key_", 32),
    "cloudmake.generic-assignment": f'signingKey := "{made_up("", 32)}"',
    "cloudmake.generic-variable": f"export SESSION_SECRET={made_up('', 32)}",
    "betterleaks.github-pat": github_token(),
    "betterleaks.github-fine-grained-pat": f"{made_up('github' + '_pat_', 22)}_{made_up('', 59)}",
    "betterleaks.slack-bot-token": f"{made_up('xo' + 'xb-', 12, alphabet=DIGITS)}-{made_up('', 12, alphabet=DIGITS)}-{made_up('', 24)}",
    "betterleaks.neon-api-key": made_up("na" + "pi_", 64, alphabet=string.ascii_lowercase + DIGITS),
    "betterleaks.private-key": f"-----BEGIN OPENSSH {'PRIVATE'} KEY-----\n{PEM}\n-----END OPENSSH {'PRIVATE'} KEY-----",
    "betterleaks.generic-credential-uri": f"postgresql://owner:{made_up('', 16)}@db.service.internal/main",
    "betterleaks.jwt": f"{made_up('ey' + 'J', 30)}.{made_up('ey' + 'J', 40)}.{made_up('', 43)}",
}
NOT_FOUND = (
    "AKIA" + "IOSFODNN7EXAMPLE",
    "id: 123e4567-e89b-12d3-a456-426614174000",
    f"commit {made_up('', 40, alphabet='0123456789abcdef')}",
    "PASSWORD=${PASSWORD_OF_THE_SERVICE}",
    'token = "the-token-that-is-used"',
    "re_encrypt_everything_and_then_some",
    'api_key = os.environ["POSTHOG_API_KEY"]',
)


def rules_of(text: str, path: str = "file") -> set[str]:
    return {found.rule for found in load_scanner().scan(path, text.encode())}


@pytest.mark.parametrize("rule", FOUND)
def test_finds(rule: str) -> None:
    assert rules_of(FOUND[rule]) == {rule}


@pytest.mark.parametrize("text", NOT_FOUND)
def test_does_not_find(text: str) -> None:
    assert rules_of(text) == set()


def test_every_rule_of_our_own_is_tried() -> None:
    own = set(re.findall(r"(?m)^ +id: (\S+)$", RULES.read_text()))

    assert own == {rule for rule in FOUND if rule.startswith("cloudmake.")}


def test_finds_nothing_in_hundreds_of_ids_and_hashes() -> None:
    chosen = random.Random(1)
    ids = [f"{chosen.getrandbits(128):032x}" for _ in range(300)]
    text = "\n".join(f"{id_[:8]}-{id_[8:12]}-4{id_[13:16]}-a{id_[17:20]}-{id_[20:]} sha256:{id_}{id_}" for id_ in ids)

    assert rules_of(text) == set()


def test_sees_into_base64_and_utf_16_and_between_bytes() -> None:
    token = github_token()
    scanner = load_scanner()

    for content in (
        b64encode(f"the key is {token} ".encode()),
        f"first\ntoken {token}\n".encode("utf-16"),
        b"\0\1\2" + token.encode() + b"\0",
    ):
        assert [found.value for found in scanner.scan("file", content)] == [token]


@pytest.mark.parametrize(
    "path",
    ["yarn.lock", "go.sum", "node_modules/a/index.js", "a.png", "a.svg", "a.html", "gitleaks.toml", "poetry.lock"],
)
def test_passes_over_no_file_for_its_name(path: str) -> None:
    assert rules_of(f"{github_token()}\n{FOUND['cloudmake.generic-assignment']}", path) == {
        "betterleaks.github-pat",
        "cloudmake.generic-assignment",
    }


def test_no_comment_excuses_what_it_stands_beside() -> None:
    assert rules_of(f"{github_token()} # kingfisher:ignore gitleaks:allow") == {"betterleaks.github-pat"}


def test_files_for_which_there_are_rules_of_their_own_are_looked_at_by_their_name_too() -> None:
    from kingfisher_sdk import Rules

    catalogue = Rules()
    patterns = {detail["path"] for each in catalogue.metadata() if (detail := catalogue.detail(each["id"]))["path"]}
    names = (
        "index.php", "main.tf", "main.hcl", "secret.yaml", "secret.yml", "nuget.config", ".git/config",
        "home/.git-credentials", ".bash_history", "Bitwarden CLI/data.json",
    )  # fmt: skip

    assert all(NAMED.search(name) for name in names)
    # A pattern that none of them fits is a new one, which NAMED has to know.
    assert {pattern for pattern in patterns if not any(re.search(pattern, name) for name in names)} == set()


def test_no_value_is_in_what_a_finding_shows() -> None:
    token = github_token()
    (found,) = load_scanner().scan("file", token.encode())

    assert token not in repr(found)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)

    with pytest.raises(ScannerMissingError, match=r"pip install 'cath-dagster\[scan\]'"):
        SecretScanner(())
