-- The schema of the BON service as its deployed databases carry it, as far as the jobs and what refers to their rows go.
--
-- Written out by hand so that samples and tests meet what the jobs meet: enumerations, the foreign keys with their
-- ON DELETE, and the indexes, partial ones included. Every instant is a timestamptz; due dates are plain dates.

CREATE TYPE business_role AS ENUM ('owner', 'admin', 'user');
CREATE TYPE business_type AS ENUM ('licensed_dealer', 'exempt_dealer', 'limited_company');
CREATE TYPE document_type AS ENUM ('tax_invoice', 'tax_invoice_receipt', 'receipt', 'credit_note');
CREATE TYPE invoice_status AS ENUM ('draft', 'finalized', 'sent', 'paid', 'partially_paid', 'cancelled', 'credited');
ALTER TYPE invoice_status ADD VALUE 'sending' BEFORE 'sent';
CREATE TYPE sequence_group AS ENUM ('tax_document', 'credit_note', 'receipt');
CREATE TYPE allocation_status AS ENUM ('pending', 'approved', 'rejected', 'emergency');
CREATE TYPE payment_method AS ENUM ('cash', 'transfer', 'credit', 'check', 'other');
CREATE TYPE tax_id_type AS ENUM ('company_id', 'vat_number', 'personal_id', 'none');
CREATE TYPE conversation_status AS ENUM ('active', 'idle', 'blocked');
CREATE TYPE message_direction AS ENUM ('inbound', 'outbound');
CREATE TYPE llm_role AS ENUM ('user', 'assistant', 'tool');

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    google_id text UNIQUE,
    avatar_url text,
    phone text,
    whatsapp_enabled boolean NOT NULL DEFAULT true,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_phone_unique ON users (phone) WHERE phone IS NOT NULL;

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_accessed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX session_user_idx ON sessions (user_id);
CREATE INDEX session_expires_idx ON sessions (expires_at);

CREATE TABLE businesses (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    business_type business_type NOT NULL,
    registration_number text NOT NULL UNIQUE,
    vat_number text UNIQUE,
    is_active boolean NOT NULL DEFAULT true,
    deleted_at timestamptz,
    default_vat_rate integer NOT NULL DEFAULT 1700,
    created_by_user_id uuid NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT businesses_active_xor_deleted CHECK (is_active = (deleted_at IS NULL))
);

CREATE TABLE user_businesses (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users,
    business_id uuid NOT NULL REFERENCES businesses,
    role business_role NOT NULL,
    UNIQUE (user_id, business_id)
);
CREATE INDEX user_businesses_business_idx ON user_businesses (business_id);

CREATE TABLE customers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    name text NOT NULL,
    tax_id text,
    tax_id_type tax_id_type NOT NULL DEFAULT 'none',
    is_active boolean NOT NULL DEFAULT true,
    deleted_at timestamptz,
    CONSTRAINT customers_active_xor_deleted CHECK (is_active = (deleted_at IS NULL))
);
CREATE INDEX customers_business_idx ON customers (business_id);
CREATE UNIQUE INDEX customers_tax_id_unique ON customers (business_id, tax_id) WHERE tax_id IS NOT NULL;

CREATE TABLE invoices (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses,
    customer_id uuid REFERENCES customers ON DELETE SET NULL,
    customer_name text,
    customer_tax_id text,
    customer_address text,
    customer_email text,
    document_type document_type NOT NULL,
    status invoice_status NOT NULL DEFAULT 'draft',
    is_overdue boolean NOT NULL DEFAULT false,
    sequence_number integer,
    document_number text,
    credited_invoice_id uuid REFERENCES invoices ON DELETE RESTRICT,
    sequence_group sequence_group,
    invoice_date date NOT NULL DEFAULT CURRENT_DATE,
    issued_at timestamptz,
    due_date date,
    notes text,
    internal_notes text,
    currency text NOT NULL DEFAULT 'ILS',
    vat_exemption_reason text,
    subtotal_minor_units integer NOT NULL DEFAULT 0,
    discount_minor_units integer NOT NULL DEFAULT 0,
    total_excl_vat_minor_units integer NOT NULL DEFAULT 0,
    vat_minor_units integer NOT NULL DEFAULT 0,
    total_incl_vat_minor_units integer NOT NULL DEFAULT 0,
    allocation_status allocation_status,
    allocation_number text,
    allocation_error text,
    sent_at timestamptz,
    paid_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX invoices_business_status_idx ON invoices (business_id, status);
CREATE INDEX invoices_business_date_idx ON invoices (business_id, invoice_date);
CREATE INDEX invoices_business_customer_idx ON invoices (business_id, customer_id);
CREATE INDEX invoices_business_credited_idx ON invoices (business_id, credited_invoice_id, document_type);
CREATE UNIQUE INDEX invoices_sequence_unique ON invoices (business_id, sequence_group, sequence_number)
    WHERE sequence_number IS NOT NULL;
CREATE INDEX invoices_draft_cleanup_idx ON invoices (updated_at) WHERE status = 'draft';
CREATE INDEX invoices_overdue_candidates_idx ON invoices (due_date, status)
    WHERE is_overdue = false AND due_date IS NOT NULL AND status IN ('finalized', 'sent', 'partially_paid');
CREATE INDEX invoices_overdue_reset_idx ON invoices (status)
    WHERE is_overdue = true AND status IN ('paid', 'cancelled', 'credited');

CREATE TABLE invoice_items (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    invoice_id uuid NOT NULL REFERENCES invoices ON DELETE CASCADE,
    position integer NOT NULL,
    description text NOT NULL,
    catalog_number text,
    quantity numeric(12, 4) NOT NULL,
    unit_price_minor_units integer NOT NULL,
    discount_percent numeric(5, 2) NOT NULL DEFAULT 0,
    vat_rate_basis_points integer NOT NULL,
    line_total_minor_units integer NOT NULL DEFAULT 0,
    vat_amount_minor_units integer NOT NULL DEFAULT 0,
    line_total_incl_vat_minor_units integer NOT NULL DEFAULT 0,
    UNIQUE (invoice_id, position)
);

CREATE TABLE invoice_payments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    invoice_id uuid NOT NULL REFERENCES invoices ON DELETE CASCADE,
    amount_minor_units integer NOT NULL CHECK (amount_minor_units > 0),
    paid_at date NOT NULL,
    method payment_method NOT NULL,
    reference text,
    notes text,
    recorded_by_user_id uuid NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX invoice_payments_invoice_idx ON invoice_payments (invoice_id);

CREATE TABLE business_shaam_credentials (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL UNIQUE REFERENCES businesses ON DELETE CASCADE,
    encrypted_access_token text NOT NULL,
    encrypted_refresh_token text NOT NULL,
    token_expires_at timestamptz NOT NULL,
    scope text,
    needs_reauth boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE shaam_audit_log (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses,
    invoice_id uuid NOT NULL REFERENCES invoices,
    request_payload text NOT NULL,
    result text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX shaam_audit_log_invoice_idx ON shaam_audit_log (invoice_id);

CREATE TABLE emergency_allocation_numbers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    number text NOT NULL,
    used boolean NOT NULL DEFAULT false,
    used_for_invoice_id uuid REFERENCES invoices ON DELETE SET NULL
);

CREATE TABLE whatsapp_conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
    phone text NOT NULL,
    active_business_id uuid REFERENCES businesses ON DELETE SET NULL,
    status conversation_status NOT NULL DEFAULT 'active',
    last_activity_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE whatsapp_messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES whatsapp_conversations ON DELETE CASCADE,
    direction message_direction NOT NULL,
    llm_role llm_role NOT NULL,
    body text NOT NULL,
    metadata text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX whatsapp_messages_conversation_idx ON whatsapp_messages (conversation_id, created_at);

CREATE TABLE whatsapp_pending_actions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES whatsapp_conversations ON DELETE CASCADE,
    action_type text NOT NULL,
    payload text NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE invoice_sequences (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    sequence_group sequence_group NOT NULL,
    next_number integer NOT NULL CHECK (next_number > 0),
    UNIQUE (business_id, sequence_group)
);

CREATE TABLE subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL UNIQUE REFERENCES businesses ON DELETE CASCADE,
    plan text NOT NULL,
    status text NOT NULL,
    current_period_end timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
