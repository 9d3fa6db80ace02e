"""The four views for reporting. None holds an e-mail address, a person's name, a case name or a case number."""

from cath_dagster.cath.artefacts import WHOLE_NUMBER
from cath_dagster.core.maintenance.view import View

ARTEFACT_COLUMNS = (
    "artefact_id, location_id, list_type_id AS list_type, content_date, sensitivity, language, display_from, "
    "display_to, last_received_date, is_flat_file, provenance, superseded_count, no_match, type"
)

VIEWS = (
    View(
        name="sdp_mat_view_artefact",
        title="Published lists, live and archived, without the name of their source file.",
        definition=(
            f"SELECT {ARTEFACT_COLUMNS}, false AS is_archived FROM public.artefact "  # noqa: S608 - our own columns
            f"UNION ALL SELECT {ARTEFACT_COLUMNS}, true FROM maintenance.artefact_archive"
        ),
        key=("artefact_id", "is_archived"),
        sources=("artefact", "artefact_archive"),
    ),
    View(
        name="sdp_mat_view_location",
        title="Courts and tribunals, without their contact details.",
        definition="SELECT location_id, name, welsh_name FROM public.location",
        key=("location_id",),
        sources=("location",),
    ),
    View(
        name="sdp_mat_view_pi_user",
        title="Users by provenance and role, without names, addresses and provider ids.",
        definition='SELECT user_id, user_provenance, role, created_date, last_signed_in_date FROM public."user"',
        key=("user_id",),
        sources=("user",),
    ),
    View(
        name="sdp_mat_view_subscription",
        title="Subscriptions; what they search for only where that is a location, and then by its name.",
        definition=(
            "SELECT s.subscription_id, s.user_id, s.search_type, l.name AS location_name, s.date_added "  # noqa: S608 - our own pattern
            "FROM public.subscription s LEFT JOIN public.location l ON s.search_type = 'LOCATION_ID' "
            f"AND CASE WHEN s.search_value ~ '{WHOLE_NUMBER}' THEN s.search_value::numeric END = l.location_id"
        ),
        key=("subscription_id",),
        sources=("subscription", "location"),
    ),
)
