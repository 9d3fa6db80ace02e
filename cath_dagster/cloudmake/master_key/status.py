"""How many values are under which master key, as people and machines read it; of the keys their fingerprints alone."""

from collections.abc import Mapping

from cath_dagster.adapters.terminal import out
from cath_dagster.cloudmake.keyring import NEW, OLD
from cath_dagster.cloudmake.master_key.counting import KeyCounts, total
from cath_dagster.cloudmake.sealing import Keyring

NOT_SET = "not set"


def status_as_json(keyring: Keyring, counts: Mapping[str, KeyCounts]) -> dict[str, object]:
    """Return it with stable keys."""
    return {
        "new_key": keyring.new.fingerprint,
        "old_key": keyring.old.fingerprint if keyring.old is not None else None,
        "tables": {name: {**found.as_details(), "unopened": list(found.unopened)} for name, found in counts.items()},
    }


def print_status(keyring: Keyring, counts: Mapping[str, KeyCounts]) -> None:
    """Print a line for each key and each table, and what is to be done."""
    old = keyring.old.fingerprint if keyring.old is not None else NOT_SET
    lines = [f"{NEW:<36} {keyring.new.fingerprint}", f"{OLD:<36} {old}", ""]
    lines.append(f"{'':<20} {'new':>9} {'old':>9} {'neither':>9}")
    lines += [f"{name:<20} {each.new:>9,} {each.old:>9,} {each.neither:>9,}" for name, each in counts.items()]
    lines += [f"{name}: {text}" for name, found in counts.items() for text in found.unopened]
    lines += ["", _advice(keyring, total(counts))]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True, highlight=False)


def _advice(keyring: Keyring, found: KeyCounts) -> str:
    if found.neither and keyring.old is None:
        return f"Set the key that those under neither are under as {OLD}, and look again."
    if found.neither:
        return "What opens under neither key keeps master_key_rotation from its work."
    if found.old:
        return f"{found.old:,} values are to be brought under the new key: cath-dagster run master_key_rotation --set confirm=true"
    if keyring.old is not None:
        return f"Nothing is under the old key: {OLD} may be removed wherever it is set."
    return "Every value is under the key that is set."
