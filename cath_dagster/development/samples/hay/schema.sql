-- The schema of Hay as its migrations leave it, as far as the jobs and what refers to their rows go.
--
-- Written out by hand so that samples and tests meet what the jobs meet: the enumerations, the constraints, the foreign keys
-- with their ON DELETE, and the indexes, those that are missing included. Two kinds of clocks: conversations, messages, their
-- feedback, customers, agents, playbooks, sources and embeddings have naive instants, which hold the local time of the session
-- that wrote them; all else is a timestamptz. Keys are made by gen_random_uuid(), where the service asks an extension for the
-- same.

CREATE TYPE organizations_default_language_enum AS ENUM ('en', 'pt', 'es', 'de', 'fr');
CREATE TYPE documents_type_enum AS ENUM ('article', 'guide', 'faq', 'tutorial', 'reference', 'policy');
CREATE TYPE documents_status_enum AS ENUM ('draft', 'published', 'archived', 'under_review', 'processing', 'error');
CREATE TYPE documents_visibility_enum AS ENUM ('public', 'private', 'internal');
CREATE TYPE documents_import_method_enum AS ENUM ('upload', 'web', 'plugin');
CREATE TYPE jobs_status_enum AS ENUM ('pending', 'queued', 'processing', 'completed', 'failed', 'cancelled', 'retrying');
CREATE TYPE jobs_priority_enum AS ENUM ('0', '1', '2', '3');
CREATE TYPE conversations_channel_enum AS ENUM ('web', 'whatsapp', 'instagram', 'telegram', 'sms', 'email');
CREATE TYPE conversations_status_enum AS ENUM (
    'open', 'processing', 'pending-human', 'resolved', 'closed', 'human-took-over');
CREATE TYPE messages_type_enum AS ENUM (
    'Customer', 'System', 'HumanAgent', 'BotAgent', 'ToolCall', 'ToolResponse', 'Document', 'Playbook', 'Tool');
CREATE TYPE messages_direction_enum AS ENUM ('in', 'out');
CREATE TYPE messages_sentiment_enum AS ENUM ('positive', 'neutral', 'negative');
CREATE TYPE messages_intent_enum AS ENUM (
    'greet', 'question', 'request', 'handoff', 'close_satisfied', 'close_unsatisfied', 'other', 'unknown');
CREATE TYPE messages_status_enum AS ENUM ('pending', 'approved', 'rejected', 'edited');
CREATE TYPE messages_delivery_state_enum AS ENUM ('queued', 'sent', 'blocked');
CREATE TYPE message_feedback_rating_enum AS ENUM ('good', 'bad', 'neutral');

CREATE TABLE organizations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar,
    updated_by varchar,
    metadata jsonb,
    name varchar(255) NOT NULL,
    slug varchar(255) NOT NULL UNIQUE,
    description varchar(500),
    is_active boolean NOT NULL DEFAULT true,
    website varchar(255),
    contact_email varchar(255),
    settings jsonb,
    limits jsonb,
    default_language organizations_default_language_enum NOT NULL DEFAULT 'en',
    default_agent_id uuid,
    logo_upload_id uuid UNIQUE,
    about text
);
CREATE INDEX idx_organizations_is_active ON organizations (is_active);

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar,
    updated_by varchar,
    metadata jsonb,
    email varchar(255) NOT NULL UNIQUE,
    password varchar(255) NOT NULL,
    first_name varchar(255),
    last_name varchar(255),
    is_active boolean NOT NULL DEFAULT true,
    organization_id uuid REFERENCES organizations,
    role varchar(50) NOT NULL DEFAULT 'member',
    permissions jsonb,
    last_login_at timestamptz,
    last_seen_at timestamptz,
    deleted_at timestamptz,
    status varchar(20) NOT NULL DEFAULT 'available',
    pending_email varchar(255),
    avatar_url varchar(500)
);
CREATE INDEX idx_users_organization ON users (organization_id);

CREATE TABLE user_organizations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    role varchar(50) NOT NULL DEFAULT 'member',
    UNIQUE (user_id, organization_id)
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    refresh_token_hash varchar(255) NOT NULL,
    expires_at timestamptz NOT NULL,
    last_activity timestamptz NOT NULL,
    is_active boolean NOT NULL DEFAULT true
);
CREATE INDEX idx_sessions_expires_at ON sessions (expires_at);

CREATE TABLE uploads (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    path varchar(1000) NOT NULL,
    storage_type varchar(50) NOT NULL DEFAULT 'local',
    folder varchar(100),
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    uploaded_by_id uuid REFERENCES users ON DELETE SET NULL
);
ALTER TABLE organizations ADD FOREIGN KEY (logo_upload_id) REFERENCES uploads ON DELETE SET NULL;

CREATE TABLE agents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    description text,
    enabled boolean NOT NULL DEFAULT true,
    instructions jsonb,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
ALTER TABLE organizations ADD FOREIGN KEY (default_agent_id) REFERENCES agents ON DELETE SET NULL;

CREATE TABLE playbooks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title varchar(255) NOT NULL,
    trigger varchar(255) NOT NULL,
    organization_id uuid REFERENCES organizations ON DELETE CASCADE,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    organization_id uuid NOT NULL,
    key_hash varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    -- The service has both of them.
    CONSTRAINT api_keys_organization FOREIGN KEY (organization_id) REFERENCES organizations,
    CONSTRAINT api_keys_organization_again FOREIGN KEY (organization_id) REFERENCES organizations ON DELETE CASCADE
);

CREATE TABLE customers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    external_id varchar(255),
    email varchar(255),
    phone varchar(50),
    name varchar(255),
    notes text,
    external_metadata jsonb,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    UNIQUE (organization_id, external_id)
);
CREATE INDEX idx_customers_email ON customers (organization_id, email);

CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar,
    updated_by varchar,
    metadata jsonb,
    organization_id uuid NOT NULL REFERENCES organizations,
    title varchar,
    description varchar,
    status jobs_status_enum NOT NULL DEFAULT 'pending',
    priority jobs_priority_enum NOT NULL DEFAULT '1',
    data jsonb,
    result jsonb
);

CREATE TABLE privacy_requests (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(255) NOT NULL,
    user_id uuid REFERENCES users ON DELETE SET NULL,
    type varchar(20) NOT NULL CHECK (type IN ('export', 'deletion', 'rectification')),
    status varchar(30) NOT NULL DEFAULT 'pending_verification' CHECK (status IN (
        'pending_verification', 'verified', 'processing', 'completed', 'failed', 'expired', 'cancelled')),
    verification_token_hash varchar(255),
    verification_expires_at timestamptz,
    verified_at timestamptz,
    job_id uuid REFERENCES jobs ON DELETE SET NULL,
    ip_address varchar(45),
    user_agent varchar(500),
    completed_at timestamptz,
    metadata jsonb,
    error_message text,
    download_ip_address varchar(45),
    downloaded_at timestamptz,
    download_count integer NOT NULL DEFAULT 0,
    max_downloads integer NOT NULL DEFAULT 1,
    subject_type varchar(20) NOT NULL DEFAULT 'user' CHECK (subject_type IN ('user', 'customer')),
    customer_id uuid REFERENCES customers ON DELETE SET NULL,
    organization_id uuid REFERENCES organizations ON DELETE CASCADE,
    identifier_type varchar(20) CHECK (identifier_type IN ('email', 'phone', 'externalId')),
    identifier_value varchar(255),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT chk_privacy_requests_subject_integrity CHECK (
        (subject_type = 'user' AND user_id IS NOT NULL AND customer_id IS NULL)
        OR (subject_type = 'customer' AND customer_id IS NOT NULL AND user_id IS NULL))
);
CREATE INDEX idx_privacy_requests_email ON privacy_requests (email);
CREATE INDEX idx_privacy_requests_status ON privacy_requests (status);
CREATE INDEX idx_privacy_requests_type ON privacy_requests (type);
CREATE INDEX idx_privacy_requests_created_at ON privacy_requests (created_at);
CREATE INDEX idx_privacy_requests_verification_expires_at ON privacy_requests (verification_expires_at);
CREATE INDEX idx_privacy_requests_subject_type ON privacy_requests (subject_type);
CREATE INDEX idx_privacy_requests_customer_id ON privacy_requests (customer_id);
CREATE INDEX idx_privacy_requests_organization_id ON privacy_requests (organization_id);
CREATE INDEX idx_privacy_requests_identifier ON privacy_requests (identifier_type, identifier_value);

CREATE TABLE audit_logs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid REFERENCES users ON DELETE SET NULL,
    organization_id uuid REFERENCES organizations ON DELETE CASCADE,
    action varchar(100) NOT NULL,
    resource varchar(100),
    changes jsonb,
    metadata jsonb,
    ip_address varchar(45),
    user_agent varchar(500),
    status varchar(100),
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_audit_logs_user_id ON audit_logs (user_id);
CREATE INDEX idx_audit_logs_organization_id ON audit_logs (organization_id);
CREATE INDEX idx_audit_logs_action ON audit_logs (action);
CREATE INDEX idx_audit_logs_created_at ON audit_logs (created_at);

CREATE TABLE plugin_registry (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    plugin_id varchar(255) NOT NULL UNIQUE,
    name varchar(255) NOT NULL,
    version varchar(50) NOT NULL,
    manifest jsonb NOT NULL,
    plugin_path varchar(255) NOT NULL,
    installed boolean NOT NULL DEFAULT false,
    built boolean NOT NULL DEFAULT false,
    last_install_error text,
    last_build_error text,
    installed_at timestamptz,
    built_at timestamptz,
    uploaded_at timestamptz,
    metadata_fetched_at timestamptz,
    checksum varchar(64),
    max_concurrent_instances integer NOT NULL DEFAULT 10,
    source_type varchar(50) NOT NULL DEFAULT 'core',
    organization_id uuid REFERENCES organizations ON DELETE CASCADE,
    zip_upload_id uuid REFERENCES uploads ON DELETE SET NULL,
    uploaded_by_id uuid REFERENCES users ON DELETE SET NULL,
    status varchar(50) NOT NULL DEFAULT 'available',
    metadata jsonb,
    metadata_state varchar(50) NOT NULL DEFAULT 'missing',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE plugin_instances (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar,
    updated_by varchar,
    metadata jsonb,
    organization_id uuid NOT NULL REFERENCES organizations,
    plugin_id uuid NOT NULL REFERENCES plugin_registry,
    enabled boolean NOT NULL DEFAULT false,
    running boolean NOT NULL DEFAULT false,
    config jsonb,
    auth_state jsonb,
    process_id varchar,
    last_started_at timestamptz,
    last_stopped_at timestamptz,
    last_health_check timestamptz,
    last_activity_at timestamptz,
    auth_validated_at timestamptz,
    last_error text,
    restart_count integer NOT NULL DEFAULT 0,
    priority integer NOT NULL DEFAULT 0,
    status varchar(50) NOT NULL DEFAULT 'stopped',
    runtime_state varchar(50) NOT NULL DEFAULT 'stopped',
    health_status varchar(50),
    auth_method varchar(50),
    UNIQUE (organization_id, plugin_id)
);
CREATE INDEX idx_plugin_instances_health_status ON plugin_instances (health_status);
CREATE INDEX idx_plugin_instances_runtime_state ON plugin_instances (runtime_state);
CREATE INDEX idx_plugin_instances_state ON plugin_instances (organization_id, plugin_id, runtime_state);

CREATE TABLE documents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar,
    updated_by varchar,
    metadata jsonb,
    organization_id uuid NOT NULL REFERENCES organizations,
    title varchar,
    description varchar,
    type documents_type_enum NOT NULL DEFAULT 'article',
    status documents_status_enum NOT NULL DEFAULT 'draft',
    visibility documents_visibility_enum NOT NULL DEFAULT 'private',
    tags text,
    categories text,
    attachments jsonb,
    content text,
    embedding_metadata jsonb,
    processing_metadata jsonb,
    import_method documents_import_method_enum NOT NULL DEFAULT 'upload',
    source_url varchar,
    last_crawled_at timestamptz
);
CREATE INDEX idx_documents_processing_metadata ON documents USING gin (processing_metadata)
    WHERE processing_metadata IS NOT NULL;

CREATE TABLE embeddings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    document_id uuid REFERENCES documents ON DELETE CASCADE,
    page_content text NOT NULL,
    metadata jsonb,
    embedding text,
    created_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX embeddings_org_id_idx ON embeddings (organization_id);

CREATE TABLE sources (
    id varchar(50) PRIMARY KEY,
    name varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
INSERT INTO sources (id, name) VALUES ('playground', 'Playground'), ('webchat', 'Webchat');

CREATE TABLE webchat_settings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL UNIQUE REFERENCES organizations ON DELETE CASCADE,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title varchar(255) NOT NULL,
    channel conversations_channel_enum NOT NULL DEFAULT 'web',
    status conversations_status_enum NOT NULL DEFAULT 'open',
    public_jwk jsonb,
    context jsonb,
    resolution_metadata jsonb,
    metadata jsonb,
    orchestration_status jsonb,
    cooldown_until timestamptz,
    ended_at timestamptz,
    closed_at timestamptz,
    last_message_at timestamptz,
    last_processed_at timestamptz,
    processing_locked_until timestamptz,
    assigned_at timestamptz,
    last_processing_error_at timestamptz,
    last_recovery_attempt_at timestamptz,
    stuck_detected_at timestamptz,
    deleted_at timestamptz,
    legal_hold_set_at timestamptz,
    agent_id uuid REFERENCES agents ON DELETE SET NULL,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    playbook_id uuid,
    customer_id uuid REFERENCES customers ON DELETE SET NULL,
    assigned_user_id uuid REFERENCES users ON DELETE SET NULL,
    needs_processing boolean NOT NULL DEFAULT false,
    processing_locked_by varchar(255),
    document_ids uuid[],
    enabled_tools text[],
    previous_status varchar(50),
    language varchar(10),
    -- Unlike what the service's own entities say, these four may be NULL.
    processing_attempts integer DEFAULT 0,
    processing_error_count integer DEFAULT 0,
    recovery_attempts integer DEFAULT 0,
    is_stuck boolean DEFAULT false,
    last_processing_error text,
    stuck_reason text,
    legal_hold boolean NOT NULL DEFAULT false,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX idx_conversations_retention ON conversations (organization_id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX idx_conversations_legal_hold ON conversations (organization_id, legal_hold) WHERE legal_hold;
CREATE INDEX idx_conversations_processing
    ON conversations (status, needs_processing, last_message_at, processing_locked_until, is_stuck)
    WHERE status IN ('open', 'processing');

-- No index on conversation_id, and none on message_feedback.message_id.
CREATE TABLE messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    content text NOT NULL,
    type messages_type_enum NOT NULL,
    direction messages_direction_enum NOT NULL DEFAULT 'in',
    provider_message_id varchar(255),
    usage_metadata jsonb,
    metadata jsonb,
    attachments jsonb,
    sender varchar(100),
    sentiment messages_sentiment_enum,
    intent messages_intent_enum,
    status messages_status_enum NOT NULL DEFAULT 'approved',
    source_id varchar(50) NOT NULL DEFAULT 'webchat' REFERENCES sources ON DELETE RESTRICT,
    review_required boolean NOT NULL DEFAULT false,
    delivery_state messages_delivery_state_enum NOT NULL DEFAULT 'sent',
    approved_by uuid REFERENCES users ON DELETE SET NULL,
    approved_at timestamptz,
    original_content text,
    detected_language varchar(10),
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE message_feedback (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    reviewer_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    rating message_feedback_rating_enum NOT NULL,
    comment text,
    created_at timestamp NOT NULL DEFAULT now()
);

-- The service's own record of its scheduler, which none of our jobs touches.
CREATE TABLE scheduled_jobs (
    name varchar(255) PRIMARY KEY,
    description text NOT NULL,
    schedule text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    last_run timestamptz,
    last_status varchar(50),
    last_error text,
    total_runs integer NOT NULL DEFAULT 0,
    total_failures integer NOT NULL DEFAULT 0,
    average_duration integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE scheduled_job_history (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_name varchar(255) NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    status varchar(50) NOT NULL,
    duration integer NOT NULL,
    error text,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_scheduled_job_history_job ON scheduled_job_history (job_name, started_at);
