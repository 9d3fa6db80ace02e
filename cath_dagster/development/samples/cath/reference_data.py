"""Courts, regions and list types: what the other rows refer to, in the same numbers at every scale."""

from datetime import datetime, timedelta

from cath_dagster.development.samples.cath.drawing import Row

# Locations and list types are numbered from 1: those in use, then deleted recently, then deleted long ago.
OPEN_LOCATIONS, RECENTLY_CLOSED_LOCATIONS, CLOSED_LOCATIONS = 370, 15, 15
LIVE_LIST_TYPES, RECENTLY_DELETED_LIST_TYPES, DELETED_LIST_TYPES = 24, 2, 2

_TOWNS = (
    *("Ashdown", "Barton", "Caldwell", "Dunmere", "Eastholm", "Farrow", "Glenford", "Hartwell", "Ivybridge", "Kelso"),
    *("Larkhill", "Marlow", "Norwood", "Oakham", "Penarth", "Queensferry", "Redcar", "Selby", "Tenby", "Upton"),
    *("Verwood", "Wexcombe", "Yarm", "Zeals", "Abermor", "Brynteg", "Cwmfelin", "Dolwen", "Eglwysfach", "Felindre"),
    *("Garth", "Hengoed", "Llanfair", "Maesteg", "Nantgarw", "Pentre", "Rhosneigr", "Talybont", "Trefor", "Ynysddu"),
)
_COURTS = (
    *(("County Court", "Llys Sirol"), ("Crown Court", "Llys y Goron"), ("Family Court", "Llys Teulu")),
    *(("Magistrates' Court", "Llys Ynadon"), ("Youth Court", "Llys Ieuenctid"), ("Tribunal", "Tribiwnlys")),
    *(("Social Security Tribunal", "Tribiwnlys Nawdd Cymdeithasol"), ("Employment Tribunal", "Tribiwnlys Cyflogaeth")),
    *(("Probate Registry", "Cofrestrfa Brofiant"), ("Hearing Centre", "Canolfan Wrandawiadau")),
)
_REGIONS = (
    *(("London", "Llundain"), ("Midlands", "Canolbarth Lloegr"), ("North East", "Gogledd-ddwyrain Lloegr")),
    *(("North West", "Gogledd-orllewin Lloegr"), ("South East", "De-ddwyrain Lloegr"), ("Wales", "Cymru")),
)
_JURISDICTIONS = (("Civil", "Sifil"), ("Family", "Teulu"), ("Crime", "Troseddau"), ("Tribunal", "Tribiwnlys"))
_LIST_TYPES = (
    *("CIVIL_DAILY_CAUSE_LIST", "FAMILY_DAILY_CAUSE_LIST", "CIVIL_AND_FAMILY_DAILY_CAUSE_LIST", "COP_DAILY_CAUSE_LIST"),
    *(
        "CROWN_DAILY_LIST",
        "CROWN_FIRM_LIST",
        "CROWN_WARNED_LIST",
        "MAGISTRATES_PUBLIC_LIST",
        "MAGISTRATES_STANDARD_LIST",
    ),
    *("SJP_PUBLIC_LIST", "SJP_PRESS_LIST", "SJP_DELTA_PUBLIC_LIST", "SJP_DELTA_PRESS_LIST", "IAC_DAILY_LIST"),
    *("ET_DAILY_LIST", "ET_FORTNIGHTLY_PRESS_LIST", "SSCS_DAILY_LIST", "PRIMARY_HEALTH_LIST", "CARE_STANDARDS_LIST"),
    *("TAX_CHAMBER_LIST", "LANDS_CHAMBER_LIST", "ADMIRALTY_LIST", "BUSINESS_LIST", "CHANCERY_APPEALS_LIST"),
    *("RECENTLY_WITHDRAWN_LIST_1", "RECENTLY_WITHDRAWN_LIST_2", "WITHDRAWN_LIST_1", "WITHDRAWN_LIST_2"),
)


def reference_data(as_of: datetime) -> dict[str, list[Row]]:
    """Return the rows of each table, in the order of the foreign keys."""
    added = as_of - timedelta(days=900)
    deleted = [None, as_of - timedelta(days=10), as_of - timedelta(days=120)]

    def deleted_at(number: int, live: int, recent: int) -> datetime | None:
        return deleted[(number > live) + (number > live + recent)]

    locations = OPEN_LOCATIONS + RECENTLY_CLOSED_LOCATIONS + CLOSED_LOCATIONS
    numbered = range(1, locations + 1)
    return {
        "list_types": [
            (
                *(i, name, name.replace("_", " ").capitalize(), f"Rhestr {i}", "Public", "CFT_IDAM,CRIME_IDAM"),
                *(added, added, deleted_at(i, LIVE_LIST_TYPES, RECENTLY_DELETED_LIST_TYPES)),
            )
            for i, name in enumerate(_LIST_TYPES, 1)
        ],
        "location": [
            (
                *(i, f"{town} {english}", f"{welsh} {town}", f"court-{i}@example.org", None),
                deleted_at(i, OPEN_LOCATIONS, RECENTLY_CLOSED_LOCATIONS),
            )
            for i, (town, (english, welsh)) in enumerate(((town, court) for court in _COURTS for town in _TOWNS), 1)
        ],
        "region": [(i, *names) for i, names in enumerate(_REGIONS, 1)],
        "jurisdiction": [(i, *names) for i, names in enumerate(_JURISDICTIONS, 1)],
        "sub_jurisdiction": [(i, f"{en} Court", f"Llys {cy}", i) for i, (en, cy) in enumerate(_JURISDICTIONS, 1)],
        "location_region": [(i, 1 + i % len(_REGIONS)) for i in numbered],
        "location_sub_jurisdiction": [(i, 1 + i % len(_JURISDICTIONS)) for i in numbered],
        "location_reference": [(f"reference-{i}", i, "SNL", f"SNL-{i}", "VENUE") for i in numbered],
    }
