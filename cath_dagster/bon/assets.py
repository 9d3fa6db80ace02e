"""What of BON is an asset: the tables that its jobs report on, and their ledger."""

import dagster as dg

from cath_dagster.bon import BON, OWNER
from cath_dagster.orchestration.runs import ledger_spec

TABLES = {
    "business_shaam_credentials": "Each business's tokens at the tax authority, encrypted.",
    "invoice_items": "Lines of invoices.",
    "invoice_payments": "Payments of invoices.",
    "invoices": "Invoices, receipts and credit notes of every status, drafts included.",
    "sessions": "Who is logged in.",
}

TABLE_SPECS = [
    dg.AssetSpec(
        dg.AssetKey([BON.name, name]),
        description=description,
        group_name=BON.name,
        kinds={"postgres", "table"},
        owners=[OWNER],
    )
    for name, description in TABLES.items()
] + [ledger_spec(BON, OWNER)]
