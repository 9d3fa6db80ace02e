"""Another maker's libsodium opens what we sealed, place by place, and nothing that was sealed for another."""

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import SCOPES, Secrets
from tests.support.peers import find_node, find_peer

pytestmark = pytest.mark.stack

PLACES = (*SCOPES, "environment:dev", "environment:production")
SCRIPT = """
const sodium = require(process.argv[1]);
const bytes = (text) => sodium.from_base64(text, sodium.base64_variants.ORIGINAL);
const open = (sealed, keys) => {
  try { return sodium.to_string(sodium.crypto_box_seal_open(bytes(sealed), bytes(keys.public), bytes(keys.private))); }
  catch { return null; }
};
sodium.ready.then(() => {
  const { sealed, keys } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const opened = {}, made = {};
  for (const [place, text] of Object.entries(sealed))
    opened[place] = Object.fromEntries(Object.entries(keys).map(([owner, pair]) => [owner, open(text, pair)]));
  for (const [place, pair] of Object.entries(keys))
    made[place] = sodium.to_base64(sodium.crypto_box_seal('made by ' + place, bytes(pair.public)),
                                   sodium.base64_variants.ORIGINAL);
  console.log(JSON.stringify({ opened, made }));
});
"""


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        yield opened


def ask_libsodium(question: dict[str, Any]) -> Any:
    command = [str(find_node()), "-e", SCRIPT, str(find_peer("libsodium-wrappers"))]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_libsodium_opens_each_value_with_the_key_of_its_own_place_alone(secrets: Secrets) -> None:
    shop = secrets.add_project("shop", "dev", "production")
    secrets.add(shop, "API_KEY", "plänted everywhere\nand on two lines", *SCOPES)
    for environment in ("dev", "production"):
        secrets.put(shop, "API_KEY", f"planted in {environment}", environment)
    secrets.synced()
    keepers = {place: secrets.github.keeper("acme/shop", place) for place in PLACES}
    expected = {
        place: value for place, keeper in keepers.items() for value in [secrets.values("shop", place)["API_KEY"]]
    }

    told = ask_libsodium(
        {
            "sealed": {
                place: base64.b64encode(keeper.secrets["API_KEY"].sealed).decode() for place, keeper in keepers.items()
            },
            "keys": {
                place: {"public": keeper.public_key, "private": keeper.private_key} for place, keeper in keepers.items()
            },
        }
    )

    assert told["opened"] == {
        place: {owner: expected[place] if owner == place else None for owner in PLACES} for place in PLACES
    }
    assert {place: keepers[place].open(base64.b64decode(text)).decode() for place, text in told["made"].items()} == {
        place: f"made by {place}" for place in PLACES
    }
