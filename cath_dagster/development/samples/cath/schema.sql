-- The schema of the Court and Tribunal Hearings service as its deployed databases carry it.
--
-- Written out by hand so that samples and tests meet what the jobs meet: the foreign keys with their ON DELETE, and
-- the indexes that are missing. A missing index is part of the schema; adding one here would hide what a purge costs.
-- Unique keys are indexes and no constraints, and foreign keys say ON UPDATE CASCADE, because Prisma makes them so.
-- Every instant is naive and means UTC. UUIDs have no default: the service generates them.

CREATE TABLE "_prisma_migrations" (
    id varchar(36) PRIMARY KEY,
    checksum varchar(64) NOT NULL,
    finished_at timestamptz,
    migration_name varchar(255) NOT NULL,
    logs text,
    rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(),
    applied_steps_count integer NOT NULL DEFAULT 0
);

-- Reference data

CREATE TABLE list_types (
    id serial PRIMARY KEY,
    name varchar(1000) NOT NULL,
    friendly_name varchar(1000),
    welsh_friendly_name varchar(255),
    shortened_friendly_name varchar(255),
    url varchar(255),
    default_sensitivity varchar(50),
    allowed_provenance varchar(50) NOT NULL,
    is_non_strategic boolean NOT NULL DEFAULT false,
    location_type varchar(50),
    case_number_json_field_name varchar(255),
    case_name_json_field_name varchar(255),
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL,
    deleted_at timestamp(3)
);
CREATE UNIQUE INDEX list_types_name_key ON list_types (name);

CREATE TABLE location (
    location_id integer PRIMARY KEY,
    name text NOT NULL,
    welsh_name text NOT NULL,
    email text,
    contact_no text,
    deleted_at timestamp(3)
);
CREATE UNIQUE INDEX location_name_key ON location (name);
CREATE UNIQUE INDEX location_welsh_name_key ON location (welsh_name);

CREATE TABLE region (
    region_id integer PRIMARY KEY,
    name text NOT NULL,
    welsh_name text NOT NULL
);
CREATE UNIQUE INDEX region_name_key ON region (name);
CREATE UNIQUE INDEX region_welsh_name_key ON region (welsh_name);

CREATE TABLE jurisdiction (
    jurisdiction_id integer PRIMARY KEY,
    name text NOT NULL,
    welsh_name text NOT NULL
);
CREATE UNIQUE INDEX jurisdiction_name_key ON jurisdiction (name);
CREATE UNIQUE INDEX jurisdiction_welsh_name_key ON jurisdiction (welsh_name);

CREATE TABLE sub_jurisdiction (
    sub_jurisdiction_id integer PRIMARY KEY,
    name text NOT NULL,
    welsh_name text NOT NULL,
    jurisdiction_id integer NOT NULL
        REFERENCES jurisdiction (jurisdiction_id) ON DELETE RESTRICT ON UPDATE CASCADE
);
CREATE UNIQUE INDEX sub_jurisdiction_name_key ON sub_jurisdiction (name);
CREATE UNIQUE INDEX sub_jurisdiction_welsh_name_key ON sub_jurisdiction (welsh_name);

CREATE TABLE list_types_sub_jurisdictions (
    id serial PRIMARY KEY,
    list_type_id integer NOT NULL REFERENCES list_types (id) ON DELETE CASCADE ON UPDATE CASCADE,
    sub_jurisdiction_id integer NOT NULL
        REFERENCES sub_jurisdiction (sub_jurisdiction_id) ON DELETE RESTRICT ON UPDATE CASCADE
);
CREATE UNIQUE INDEX list_types_sub_jurisdictions_list_type_id_sub_jurisdiction__key
    ON list_types_sub_jurisdictions (list_type_id, sub_jurisdiction_id);

CREATE TABLE location_region (
    location_id integer NOT NULL REFERENCES location (location_id) ON DELETE CASCADE ON UPDATE CASCADE,
    region_id integer NOT NULL REFERENCES region (region_id) ON DELETE RESTRICT ON UPDATE CASCADE,
    PRIMARY KEY (location_id, region_id)
);

CREATE TABLE location_sub_jurisdiction (
    location_id integer NOT NULL REFERENCES location (location_id) ON DELETE CASCADE ON UPDATE CASCADE,
    sub_jurisdiction_id integer NOT NULL
        REFERENCES sub_jurisdiction (sub_jurisdiction_id) ON DELETE RESTRICT ON UPDATE CASCADE,
    PRIMARY KEY (location_id, sub_jurisdiction_id)
);

CREATE TABLE location_reference (
    location_reference_id text PRIMARY KEY,
    location_id integer NOT NULL REFERENCES location (location_id) ON DELETE CASCADE ON UPDATE CASCADE,
    provenance varchar(50) NOT NULL,
    provenance_location_id varchar(255) NOT NULL,
    provenance_location_type varchar(50) NOT NULL
);
CREATE UNIQUE INDEX location_reference_provenance_provenance_location_id_key
    ON location_reference (provenance, provenance_location_id);

CREATE TABLE location_metadata (
    location_metadata_id text PRIMARY KEY,
    location_id integer NOT NULL REFERENCES location (location_id) ON DELETE CASCADE ON UPDATE CASCADE,
    caution_message text,
    welsh_caution_message text,
    no_list_message text,
    welsh_no_list_message text,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL
);
CREATE UNIQUE INDEX location_metadata_location_id_key ON location_metadata (location_id);

CREATE TABLE list_search_config (
    id text PRIMARY KEY,
    list_type_id integer NOT NULL,
    case_number_field_name varchar(100) NOT NULL,
    case_name_field_name varchar(100) NOT NULL,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL
);
CREATE UNIQUE INDEX list_search_config_list_type_id_key ON list_search_config (list_type_id);

-- Publications

CREATE TABLE artefact (
    artefact_id uuid PRIMARY KEY,
    location_id text NOT NULL,
    list_type_id integer NOT NULL REFERENCES list_types (id) ON DELETE RESTRICT ON UPDATE CASCADE,
    content_date date NOT NULL,
    sensitivity text NOT NULL,
    language text NOT NULL,
    display_from timestamp(3) NOT NULL,
    display_to timestamp(3) NOT NULL,
    last_received_date timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    is_flat_file boolean NOT NULL,
    provenance text NOT NULL,
    superseded_count integer NOT NULL DEFAULT 0,
    no_match boolean NOT NULL DEFAULT false,
    type varchar(50) NOT NULL,
    source_artefact_id text,
    -- Dropped by a migration and added again by the database container at every start.
    file_extension varchar(10)
);
CREATE INDEX artefact_type_idx ON artefact (type);

CREATE TABLE artefact_search (
    id text PRIMARY KEY,
    artefact_id uuid NOT NULL REFERENCES artefact (artefact_id) ON DELETE CASCADE ON UPDATE CASCADE,
    case_number text,
    case_name text,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX artefact_search_artefact_id_idx ON artefact_search (artefact_id);

CREATE TABLE ingestion_log (
    id uuid PRIMARY KEY,
    "timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    source_system text NOT NULL,
    court_id text NOT NULL,
    status text NOT NULL,
    error_message text,
    artefact_id uuid REFERENCES artefact (artefact_id) ON DELETE SET NULL ON UPDATE CASCADE
);
CREATE INDEX ingestion_log_timestamp_idx ON ingestion_log ("timestamp");
CREATE INDEX ingestion_log_status_idx ON ingestion_log (status);
CREATE INDEX ingestion_log_source_system_idx ON ingestion_log (source_system);

-- Users and what they subscribe to

CREATE TABLE "user" (
    user_id uuid PRIMARY KEY,
    email varchar(255) NOT NULL,
    first_name varchar(255),
    surname varchar(255),
    user_provenance varchar(20) NOT NULL,
    user_provenance_id varchar(255) NOT NULL,
    role varchar(20) NOT NULL,
    created_date timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_signed_in_date timestamp(3)
);
CREATE UNIQUE INDEX user_user_provenance_id_key ON "user" (user_provenance_id);
CREATE INDEX user_email_idx ON "user" (email);
CREATE INDEX user_role_idx ON "user" (role);
CREATE INDEX user_user_provenance_idx ON "user" (user_provenance);

CREATE TABLE subscription (
    subscription_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES "user" (user_id) ON DELETE CASCADE ON UPDATE CASCADE,
    search_type varchar(50) NOT NULL,
    search_value text NOT NULL,
    case_name text,
    case_number text,
    date_added timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX subscription_user_id_search_type_search_value_key
    ON subscription (user_id, search_type, search_value);
CREATE INDEX idx_subscription_user ON subscription (user_id);
CREATE INDEX idx_subscription_search ON subscription (search_type, search_value);

CREATE TABLE subscription_list_type (
    subscription_list_type_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES "user" (user_id) ON DELETE CASCADE ON UPDATE CASCADE,
    list_type_ids integer[] NOT NULL,
    list_language text[] NOT NULL,
    date_added timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX subscription_list_type_user_id_key ON subscription_list_type (user_id);

CREATE TABLE notification_audit_log (
    notification_id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscription (subscription_id) ON DELETE CASCADE ON UPDATE CASCADE,
    user_id uuid NOT NULL,
    publication_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'Pending',
    error_message text,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    sent_at timestamp(3),
    gov_notify_id text
);
CREATE INDEX notification_audit_log_publication_id_idx ON notification_audit_log (publication_id);
CREATE INDEX notification_audit_log_status_idx ON notification_audit_log (status);
CREATE INDEX notification_audit_log_gov_notify_id_idx ON notification_audit_log (gov_notify_id);

CREATE TABLE audit_log (
    id text PRIMARY KEY,
    "timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    action text NOT NULL,
    details text,
    user_id text NOT NULL,
    user_email text NOT NULL,
    user_role text NOT NULL,
    user_provenance text NOT NULL
);
CREATE INDEX audit_log_timestamp_idx ON audit_log ("timestamp");
CREATE INDEX audit_log_user_email_idx ON audit_log (user_email);
CREATE INDEX audit_log_user_id_idx ON audit_log (user_id);

CREATE TABLE media_application (
    id uuid PRIMARY KEY,
    name varchar(255) NOT NULL,
    email varchar(255) NOT NULL,
    employer varchar(255) NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'PENDING',
    applied_date timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    proof_of_id_path varchar(500),
    proof_of_id_original_name varchar(255)
);

-- Third parties that publications are pushed to

CREATE TABLE legacy_third_party_user (
    id uuid PRIMARY KEY,
    name varchar(255) NOT NULL,
    created_date timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE legacy_third_party_subscription (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES legacy_third_party_user (id) ON DELETE CASCADE ON UPDATE CASCADE,
    list_type_id integer NOT NULL,
    created_date timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX legacy_third_party_subscription_user_id_idx ON legacy_third_party_subscription (user_id);
CREATE INDEX legacy_third_party_subscription_list_type_id_idx ON legacy_third_party_subscription (list_type_id);

CREATE TABLE legacy_third_party_push_log (
    id uuid PRIMARY KEY,
    artefact_id varchar(255) NOT NULL,
    list_type_id integer NOT NULL,
    type varchar(20) NOT NULL,
    status varchar(20) NOT NULL,
    status_code integer NOT NULL,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX legacy_third_party_push_log_artefact_id_idx ON legacy_third_party_push_log (artefact_id);
CREATE INDEX legacy_third_party_push_log_list_type_id_idx ON legacy_third_party_push_log (list_type_id);

CREATE TABLE third_party_user (
    id uuid PRIMARY KEY,
    name varchar(255) NOT NULL,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE third_party_subscription (
    id uuid PRIMARY KEY,
    third_party_user_id uuid NOT NULL REFERENCES third_party_user (id) ON DELETE CASCADE ON UPDATE CASCADE,
    list_type_id integer NOT NULL,
    sensitivity varchar(20) NOT NULL
);
CREATE UNIQUE INDEX third_party_subscription_third_party_user_id_list_type_id_key
    ON third_party_subscription (third_party_user_id, list_type_id);

CREATE TABLE third_party_secret (
    name varchar(255) PRIMARY KEY,
    value varchar(1000) NOT NULL
);
