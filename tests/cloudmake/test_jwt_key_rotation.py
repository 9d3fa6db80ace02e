"""jwt_key_rotation: at its age the key that signs is followed by another, tokens stay valid through the grace, no secret leaves."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.jobs.jwt_key_rotation import SC_011
from cath_dagster.cloudmake.openpgp import decrypt, from_column
from cath_dagster.cloudmake.signing_keys.jwks import find_secrets
from cath_dagster.cloudmake.signing_keys.signing_key import thumbprint
from cath_dagster.console.database import open_database
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.postgres import database
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import NEW_KEY, OLD_KEY, OTHER_KEY, add_signing_key, set_keys
from tests.support.maintained import outcome

JOB = "jwt_key_rotation"


@pytest.fixture(autouse=True)
def _one_key(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=None)


def stored(cloudmake: CloudMake) -> dict[str, tuple[bool, datetime | None]]:
    """Return by kid whether a key is active, and when it was retired."""
    return {kid: (active, at) for kid, active, at in cloudmake.rows("SELECT kid, active, rotated_at FROM jwt_keys")}


def active(cloudmake: CloudMake) -> str:
    (kid,) = (kid for kid, (is_active, _) in stored(cloudmake).items() if is_active)
    return kid


def published(cloudmake: CloudMake) -> list[dict[str, str]]:
    document: dict[str, list[dict[str, str]]] = cloudmake.value("SELECT document FROM maintenance.jwks")
    return document["keys"]


def kids(cloudmake: CloudMake) -> list[str]:
    return [key["kid"] for key in published(cloudmake)]


def verdicts(result: RunResult) -> dict[str, bool]:
    return {check.check: check.passed for check in result.checks}


def sign(cloudmake: CloudMake, kid: str, key: str = NEW_KEY) -> str:
    """Sign a token as the service does: by what is stored, opened by the master key."""
    ((text, algorithm),) = cloudmake.rows("SELECT encrypted_secret, algorithm FROM jwt_keys WHERE kid = %s", kid)
    return jwt.encode({"sub": "u"}, decrypt(from_column(text), key).content.decode(), algorithm, headers={"kid": kid})


def verify(cloudmake: CloudMake, token: str) -> Any:
    keys = jwt.PyJWKSet.from_dict({"keys": published(cloudmake)})
    return jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["ES256", "EdDSA"])


@pytest.mark.parametrize(("days", "is_due"), [(0, False), (89.99, False), (90, True), (400, True)])
def test_a_key_is_followed_by_another_once_it_is_ninety_days_old(
    cloudmake: CloudMake, days: float, is_due: bool
) -> None:
    before = add_signing_key(cloudmake, days=days)

    result = cloudmake.run(JOB)

    assert (result.status, result.error) == ("success", None)
    assert (active(cloudmake) != before) is is_due
    assert stored(cloudmake)[before] == ((False, cloudmake.as_of) if is_due else (True, None))
    assert verdicts(result) == {"jwks_holds_no_secret": True, "sc_011_key_rotation": True}
    assert cloudmake.audit() == (
        [
            (
                "key_rotation",
                {"run_id": result.run_id, "kid_in": active(cloudmake), "kid_out": before, "is_emergency": False},
            )
        ]
        if is_due
        else []
    )


def test_the_first_key_of_all_is_made_where_none_is_active(cloudmake: CloudMake) -> None:
    result = cloudmake.run(JOB)

    details = outcome(result, "jwt_keys").details
    assert (details["kid_in"], details["kids_out"]) == (active(cloudmake), [])
    assert details["active_key_age_days"] == 0
    assert kids(cloudmake) == [active(cloudmake)]


def test_a_key_that_is_not_due_says_when_it_is(cloudmake: CloudMake) -> None:
    add_signing_key(cloudmake, days=80)

    result = cloudmake.run(JOB)

    assert "due in 10 days, on 2026-11-28" in result.notes
    assert outcome(result, "jwt_keys").details["active_key_age_days"] == 80


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_tokens_of_the_old_key_and_the_new_verify_by_the_document(cloudmake: CloudMake, algorithm: str) -> None:
    before = add_signing_key(cloudmake, days=90)
    old_token = sign(cloudmake, before)

    cloudmake.run(JOB, algorithm=algorithm)

    new_token = sign(cloudmake, active(cloudmake))
    assert verify(cloudmake, old_token) == verify(cloudmake, new_token) == {"sub": "u"}
    assert jwt.get_unverified_header(new_token)["alg"] == algorithm


def test_the_name_of_a_key_is_the_thumbprint_of_its_public_part() -> None:
    """The example of RFC 8037, appendix A.3."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

    assert thumbprint({**jwk, "kid": "x"}) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_shared_secret_is_published_in_no_form(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=90, algorithm="HS256")

    result = cloudmake.run(JOB, algorithm="HS256")

    assert (active(cloudmake) != before, published(cloudmake)) == (True, [])
    assert verdicts(result)["jwks_holds_no_secret"]
    assert jwt.get_unverified_header(sign(cloudmake, active(cloudmake)))["alg"] == "HS256"


GRACE = {6.9: "published", 7: "published", 7.01: "kept", 7.99: "kept", 8: "deleted", 30: "deleted"}


def test_a_retired_key_verifies_for_seven_days_and_is_deleted_after_eight(cloudmake: CloudMake) -> None:
    add_signing_key(cloudmake, days=20)
    retired = {days: add_signing_key(cloudmake, days=200, retired_days=days) for days in GRACE}

    result = cloudmake.run(JOB)

    there, shown = stored(cloudmake), kids(cloudmake)
    found = {
        days: "published" if kid in shown else "kept" if kid in there else "deleted" for days, kid in retired.items()
    }
    assert found == GRACE
    assert outcome(result, "jwt_keys").deleted == 2
    assert cloudmake.ledger(result.run_id)["jwt_keys"][3] == 2
    assert cloudmake.count("maintenance.archived_rows") == 0


def test_a_key_that_the_service_retired_without_a_date_has_its_whole_grace(cloudmake: CloudMake) -> None:
    """Its own script sets active to false and nothing else."""
    undated = add_signing_key(cloudmake, days=100, active=False)
    add_signing_key(cloudmake, days=1)

    result = cloudmake.run(JOB)

    assert stored(cloudmake)[undated] == (False, cloudmake.ago(days=1))
    assert undated in kids(cloudmake)
    assert verdicts(result)["sc_011_key_rotation"]


def test_a_second_run_changes_nothing(cloudmake: CloudMake) -> None:
    add_signing_key(cloudmake, days=90)
    cloudmake.run(JOB)
    before = (stored(cloudmake), cloudmake.audit(), cloudmake.rows("SELECT * FROM maintenance.jwks"))

    again = cloudmake.run(JOB)

    assert (again.status, again.changed) == ("success", 0)
    assert (stored(cloudmake), cloudmake.audit(), cloudmake.rows("SELECT * FROM maintenance.jwks")) == before


def test_a_dry_run_says_what_would_be_and_changes_nothing(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=90)
    gone = add_signing_key(cloudmake, days=200, retired_days=9)

    result = cloudmake.run(JOB, dry_run=True)

    assert (outcome(result, "jwt_keys").matched, outcome(result, "jwt_keys").details["would"]) == (2, "rotate")
    assert set(stored(cloudmake)) == {before, gone}
    assert (cloudmake.count("maintenance.jwks"), cloudmake.audit(), result.checks) == (0, [], ())
    assert result.notes == (f"a run would rotate: {before} signs now",)
    cloudmake.connection.execute("UPDATE jwt_keys SET created_at = created_at + interval '3 days' WHERE active")
    assert cloudmake.run(JOB, dry_run=True).notes == ("due in 3 days, on 2026-11-21",)


# By consent


def test_consent_rotates_before_the_time_once(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=3)

    cloudmake.run(JOB, confirm=True)
    new = active(cloudmake)
    cloudmake.run(JOB, confirm=True)

    assert new != before
    assert active(cloudmake) == new


def test_a_consent_that_stands_in_the_environment_rotates_at_no_tick(cloudmake: CloudMake) -> None:
    cloudmake.environ |= {f"CLOUDMAKE_JWT_KEY_ROTATION_{name}": "true" for name in ("CONFIRM", "EMERGENCY")}
    before = add_signing_key(cloudmake, days=3)

    assert cloudmake.run(JOB, is_scheduled=True).status == "success"
    assert active(cloudmake) == before


@pytest.mark.parametrize("environment", ["staging", "dev"])
def test_elsewhere_a_tick_is_skipped_and_a_run_wants_consent(cloudmake: CloudMake, environment: str) -> None:
    cloudmake.environ["CLOUDMAKE_ENVIRONMENT"] = environment
    before = add_signing_key(cloudmake, days=200)

    tick = cloudmake.run(JOB, is_scheduled=True)
    refused = cloudmake.run(JOB)

    assert (tick.status, refused.status) == ("success", "refused")
    assert f"this is {environment}" in " ".join(tick.notes)
    assert f"this is {environment}" in (refused.error or "")
    assert active(cloudmake) == before
    assert cloudmake.run(JOB, confirm=True).status == "success"
    assert active(cloudmake) != before


def test_in_an_emergency_every_other_key_is_gone_at_once(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=3)
    add_signing_key(cloudmake, days=93, retired_days=3)

    refused = cloudmake.run(JOB, emergency=True)
    result = cloudmake.run(JOB, emergency=True, confirm=True)

    assert refused.status == "refused"
    assert result.error is None
    assert list(stored(cloudmake)) == kids(cloudmake) == [active(cloudmake)]
    assert active(cloudmake) != before
    assert outcome(result, "jwt_keys").deleted == 2
    assert [changes["is_emergency"] for _, changes in cloudmake.audit()] == [True, True]


def test_the_key_before_may_sign_again(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=90)
    cloudmake.run(JOB)
    new = active(cloudmake)
    cloudmake.connection.execute("UPDATE jwt_keys SET active = true, rotated_at = NULL WHERE kid = %s", [before])

    result = cloudmake.run(JOB, keep=before, max_age_days=120)

    assert (active(cloudmake), stored(cloudmake)[new]) == (before, (False, cloudmake.as_of))
    assert verdicts(result) == {"jwks_holds_no_secret": True, "sc_011_key_rotation": True}


# Announced before it signs


def test_a_key_may_be_published_a_day_before_it_signs(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=89)
    ahead: dict[str, Any] = {"publish_ahead_hours": 24}

    cloudmake.run(JOB, **ahead)
    signing, shown = active(cloudmake), kids(cloudmake)
    cloudmake.run(JOB, **ahead)
    cloudmake.run(JOB, **ahead, as_of=cloudmake.as_of + timedelta(hours=23))
    still = active(cloudmake)
    cloudmake.run(JOB, **ahead, as_of=cloudmake.as_of + timedelta(hours=24))

    assert signing == still == before
    assert len(shown) == len(stored(cloudmake)) == 2
    assert [active(cloudmake)] == [kid for kid in shown if kid != before]
    assert [action for action, _ in cloudmake.audit()] == ["key_announcement", "key_rotation"]


def test_one_that_was_published_is_taken_by_a_rotation_before_the_time_once(cloudmake: CloudMake) -> None:
    add_signing_key(cloudmake, days=89)
    cloudmake.run(JOB, publish_ahead_hours=24)
    later: dict[str, Any] = {"as_of": cloudmake.as_of + timedelta(hours=2), "confirm": True}

    cloudmake.run(JOB, **later)
    signing = active(cloudmake)
    cloudmake.run(JOB, **later)

    assert len(stored(cloudmake)) == 2
    assert active(cloudmake) == signing == kids(cloudmake)[0]


# Several, none that opens, another kind


def test_several_active_keys_are_refused_and_one_may_be_named(cloudmake: CloudMake) -> None:
    first, second = (add_signing_key(cloudmake, days=days) for days in (50, 10))

    refused = cloudmake.run(JOB)
    unknown = cloudmake.run(JOB, keep="nobody")
    result = cloudmake.run(JOB, keep=first)

    assert (refused.status, unknown.status) == ("refused", "refused")
    assert first in (refused.error or "")
    assert second in (refused.error or "")
    assert (active(cloudmake), stored(cloudmake)[second]) == (first, (False, cloudmake.as_of))
    assert verdicts(result)["sc_011_key_rotation"]


def test_a_master_key_that_opens_nothing_makes_no_key_under_it(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=200, key=OTHER_KEY)

    result = cloudmake.run(JOB)

    assert result.status == "refused"
    assert f"the signing key {before} does not open" in (result.error or "")
    assert active(cloudmake) == before
    assert cloudmake.run(JOB, confirm=True).status == "failed", "its tokens verify no more, which is said"
    assert active(cloudmake) != before


def test_while_the_master_key_changes_values_under_the_old_one_are_read(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=OLD_KEY)
    before = add_signing_key(cloudmake, days=90, key=OLD_KEY)

    assert cloudmake.run(JOB).status == "success"
    assert before in kids(cloudmake)
    assert sign(cloudmake, active(cloudmake), NEW_KEY)


def test_a_key_in_grace_that_opens_no_more_stays_published(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=90)
    cloudmake.run(JOB)
    cloudmake.connection.execute("UPDATE jwt_keys SET encrypted_secret = '\\x00' WHERE kid = %s", [before])

    assert cloudmake.run(JOB).status == "success"
    assert before in kids(cloudmake)


def test_a_key_of_an_unknown_kind_fails_the_run_after_the_rest_is_done(cloudmake: CloudMake) -> None:
    odd = add_signing_key(cloudmake, days=100, retired_days=2)
    cloudmake.connection.execute("UPDATE jwt_keys SET algorithm = 'RS256'")
    add_signing_key(cloudmake, days=90)

    result = cloudmake.run(JOB)

    assert result.status == "failed"
    assert f"{odd} is for RS256" in (result.error or "")
    assert kids(cloudmake)[0] == active(cloudmake)


def test_settings_that_would_delete_a_key_in_grace_are_refused(cloudmake: CloudMake) -> None:
    result = cloudmake.run(JOB, grace_days=8)

    assert result.status == "failed"
    assert "a key would be deleted that still verifies" in (result.error or "")


# Published


def test_the_document_lies_where_verifiers_fetch_it_and_is_replaced_whole(cloudmake: CloudMake, tmp_path: Path) -> None:
    cloudmake.environ["CLOUDMAKE_JWKS_URL"] = tmp_path.as_uri()
    add_signing_key(cloudmake, days=90)

    result = cloudmake.run(JOB)
    first = json.loads((tmp_path / "jwks.json").read_bytes())
    cloudmake.run(JOB, confirm=True, as_of=cloudmake.as_of + timedelta(hours=1))

    assert outcome(result, "jwks").details["published_to"] == (tmp_path / "jwks.json").as_uri()
    assert len(first["keys"]) == 2
    assert json.loads((tmp_path / "jwks.json").read_bytes())["keys"] == published(cloudmake)


def test_a_store_that_takes_nothing_fails_the_run_and_the_next_publishes(cloudmake: CloudMake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cloudmake.environ["CLOUDMAKE_JWKS_URL"] = (tmp_path / "file").as_uri()
    add_signing_key(cloudmake, days=90)

    result = cloudmake.run(JOB)
    (tmp_path / "file").unlink()
    again = cloudmake.run(JOB)

    assert (result.status, again.status) == ("failed", "success")
    assert "the JWKS is not published" in (result.error or "")
    assert json.loads((tmp_path / "file" / "jwks.json").read_bytes())["keys"] == published(cloudmake)


PLANTED = {
    "d in key 1": {"keys": [{"kty": "EC", "crv": "P-256", "x": "", "y": "", "d": "planted"}]},
    "'oct'": {"keys": [{"kty": "oct", "k": "planted", "kid": "x"}]},
    "private_key in key 2": {
        "keys": [{"kty": "OKP", "crv": "", "x": ""}, {"kty": "OKP", "crv": "", "x": "", "private_key": "planted"}]
    },
    "note beside the keys": {"keys": [], "note": "planted"},
    "no list of keys": ["planted"],
}


@pytest.mark.parametrize("says", PLANTED)
def test_whatever_is_not_known_to_be_public_is_found_and_not_shown(says: str) -> None:
    found = "; ".join(find_secrets(PLANTED[says]))
    assert says in found
    assert "planted" not in found


# SC-011


def test_what_is_not_as_it_should_be_is_judged_without_a_run(cloudmake: CloudMake) -> None:
    old = add_signing_key(cloudmake, days=92.01)
    gone = add_signing_key(cloudmake, days=200, retired_days=9.01)
    add_signing_key(cloudmake, days=1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloudmake.environ.items():
            patch.setenv(name, value)
        with open_database(CLOUDMAKE, "test") as opened:
            assert SC_011.evaluate is not None
            verdict = SC_011.evaluate(opened, cloudmake.as_of)

    assert not verdict.passed
    assert verdict.message == (
        f"2 keys are active, and one should be; {old} is active and older than 92 days; {gone} was retired more than "
        f"9 days ago and is still stored; {gone} was retired and the audit does not tell of it"
    )


# Two at once


def test_two_runs_at_once_rotate_once(cloudmake: CloudMake) -> None:
    before = add_signing_key(cloudmake, days=90)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: cloudmake.run(JOB), range(2)))

    assert len(stored(cloudmake)) == 2
    assert active(cloudmake) != before
    assert len(cloudmake.audit()) == 1


def test_a_commit_whose_answer_is_lost_is_not_done_twice(cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch) -> None:
    before = add_signing_key(cloudmake, days=3)
    real = database._in_transaction
    lost: list[str] = []

    def lose_once(connection: sa.Connection, work: Any, is_read_only: bool) -> Any:
        answer = real(connection, work, is_read_only)
        if not lost and len(stored(cloudmake)) == 2:
            lost.append("the answer")
            raise OperationalError("", {}, psycopg.OperationalError("lost"), connection_invalidated=True)
        return answer

    monkeypatch.setattr(database, "_in_transaction", lose_once)
    result = cloudmake.run(JOB, confirm=True)

    assert (result.error, lost) == (None, ["the answer"])
    assert len(stored(cloudmake)) == 2
    assert outcome(result, "jwt_keys").details["kid_in"] == active(cloudmake) != before
    assert len(cloudmake.audit()) == 1


def test_a_writer_of_the_service_is_waited_for_and_seen(cloudmake: CloudMake) -> None:
    """The key that it has just made is not old, so that nothing is due any more."""
    before = add_signing_key(cloudmake, days=90)
    encrypted = cloudmake.value("SELECT encrypted_secret FROM jwt_keys")
    insert = "INSERT INTO jwt_keys (kid, encrypted_secret, algorithm, created_at) VALUES ('theirs', %s, 'ES256', %s)"

    result = cloudmake.run_beside(
        JOB,
        ("UPDATE jwt_keys SET active = false, rotated_at = %s", [cloudmake.as_of]),
        then=[(insert, [encrypted, cloudmake.as_of])],
    )

    assert result.status == "success"
    assert set(stored(cloudmake)) == {before, "theirs"}
    assert active(cloudmake) == "theirs"


def test_a_service_goes_on_reading_keys_while_they_change(cloudmake: CloudMake) -> None:
    add_signing_key(cloudmake, days=90)
    with psycopg.connect(cloudmake.url) as other:
        other.execute("SELECT * FROM jwt_keys")

        assert cloudmake.run(JOB).status == "success"
