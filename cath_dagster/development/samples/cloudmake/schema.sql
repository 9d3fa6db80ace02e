-- The schema of the CloudMake service as its authors intend it, as far as the jobs and what refers to their rows go.
--
-- Written out by hand so that samples and tests meet what the jobs meet. Its real databases come in two shapes, one made by
-- SQL migrations and one by an ORM, and neither has all of this: a comment says where they differ.
-- Applies with or without contrib: pgcrypto is created where it is to be had.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto') THEN
        CREATE EXTENSION IF NOT EXISTS pgcrypto;
    END IF;
END
$$;

-- Who asks. The policies call these two functions and nothing of the service defines them: on Neon they come with the
-- authentication extension. Here they read the claims of the request, as a transaction-local setting:
-- SELECT set_config('request.jwt.claims', '{"sub": "<users.id>", "role": "admin"}', true)
CREATE SCHEMA auth;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
    RETURN CAST(CAST(nullif(current_setting('request.jwt.claims', true), '') AS jsonb) ->> 'sub' AS uuid);
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE
    RETURN CAST(nullif(current_setting('request.jwt.claims', true), '') AS jsonb) ->> 'role';
GRANT USAGE ON SCHEMA auth TO PUBLIC;

CREATE TYPE auth_role AS ENUM ('admin', 'user');
CREATE TYPE project_status AS ENUM ('provisioning', 'active', 'failed');
-- The specification archives by kind = 'archived'; the ORM's enumeration has only core and preview.
CREATE TYPE environment_kind AS ENUM ('core', 'preview', 'archived');
CREATE TYPE deployment_status AS ENUM ('queued', 'running', 'succeeded', 'failed', 'rolledback');
CREATE TYPE integration_provider AS ENUM ('github', 'cloudflare', 'neon', 'postman', 'codespaces');
CREATE TYPE subscription_tier AS ENUM ('free', 'pro', 'enterprise');
CREATE TYPE subscription_status AS ENUM ('active', 'canceled', 'past_due', 'trialing');
CREATE TYPE secret_sync_status AS ENUM ('pending', 'synced', 'failed', 'conflict');
CREATE TYPE secret_sync_operation AS ENUM ('create', 'update', 'delete', 'sync_all', 'validate');
CREATE TYPE secret_sync_event_status AS ENUM ('success', 'failure', 'partial');
CREATE TYPE github_environment_status AS ENUM ('provisioning', 'active', 'failed');
CREATE TYPE github_api_quota_type AS ENUM ('core', 'secrets', 'graphql');
CREATE TYPE token_category AS ENUM ('color', 'spacing', 'typography', 'radius', 'elevation', 'glass', 'semantic');
CREATE TYPE spec_artifact_type AS ENUM
    ('zodSchema', 'drizzleModel', 'routeStub', 'postmanCollection', 'mcpTool', 'openapi', 'other');

-- Who and what there is ------------------------------------------------------------------------------------------------

CREATE TABLE organizations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(64) NOT NULL,
    slug varchar(64) NOT NULL UNIQUE,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL REFERENCES organizations,
    -- Unique says one document, not the ORM, and two identity providers may know one address.
    email varchar(255) NOT NULL,
    display_name varchar(64),
    roles varchar[] NOT NULL DEFAULT '{viewer}',
    role auth_role NOT NULL DEFAULT 'user',
    neon_auth_id varchar(255),
    better_auth_id varchar(255),
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE projects (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(64) NOT NULL,
    slug varchar(64) NOT NULL,
    org_id uuid NOT NULL REFERENCES organizations,
    default_branch varchar(255) NOT NULL DEFAULT 'main',
    status project_status NOT NULL DEFAULT 'provisioning',
    -- As provisioning writes it: {"githubRepo": "owner/repo", "cloudflareAccountId": …, "neonProjectId": …}.
    -- The synchronisation reads another shape: {"github": {"owner": …, "repo": …}, "cloudflare": {"accountId": …, …}}.
    integrations jsonb,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    UNIQUE (org_id, slug)
);

CREATE TABLE environments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects,
    name varchar(64) NOT NULL,
    kind environment_kind NOT NULL,
    github_branch varchar(255) NOT NULL,
    cloudflare_url varchar(512),
    neon_branch_id varchar(255),
    postman_environment_id varchar(255),
    github_environment_id integer,
    secrets_last_synced_at timestamptz,
    sync_status varchar(20),
    last_deployment_id uuid,
    ttl_expires_at timestamp,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    UNIQUE (project_id, name)
);
CREATE INDEX idx_environments_expiry ON environments (ttl_expires_at)
    WHERE kind = 'preview' AND ttl_expires_at IS NOT NULL;
CREATE INDEX idx_environments_sync_status ON environments (sync_status) WHERE sync_status IS NOT NULL;

CREATE TABLE deployments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects,
    environment_id uuid NOT NULL REFERENCES environments,
    source_commit_sha varchar(40) NOT NULL,
    -- {"cloudflareDeploymentId": …, "githubRunId": …}
    provider_ids jsonb,
    status deployment_status NOT NULL,
    preview varchar(10) NOT NULL DEFAULT 'false',
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE builds (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    environment_id uuid NOT NULL REFERENCES environments ON DELETE CASCADE,
    commit_sha varchar(40) NOT NULL,
    status varchar(20) NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE integration_configs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects,
    provider integration_provider NOT NULL,
    -- For github {"owner": …, "repo": …, "fullName": …, "cloneUrl": …}.
    config jsonb NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX idx_integration_configs_project ON integration_configs (project_id, provider);

-- Sessions, customers, audit -------------------------------------------------------------------------------------------

CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    refresh_token_hash text NOT NULL,
    access_expires_at timestamptz NOT NULL,
    refresh_expires_at timestamptz NOT NULL,
    device_info jsonb,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_sessions_user ON sessions (user_id);
CREATE INDEX idx_sessions_refresh_hash ON sessions (refresh_token_hash);

CREATE TABLE admin_sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash text NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ip_address varchar(64),
    user_agent text
);
CREATE INDEX idx_admin_sessions_user_expires ON admin_sessions (user_id, expires_at);

CREATE TABLE user_sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash text NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ip_address varchar(64),
    user_agent text,
    polar_customer_id varchar(255) NOT NULL,
    subscription_tier subscription_tier NOT NULL DEFAULT 'free',
    subscription_status subscription_status NOT NULL DEFAULT 'trialing'
);
CREATE INDEX idx_user_sessions_user_status ON user_sessions (user_id, subscription_status);

CREATE TABLE polar_customers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    polar_customer_id text NOT NULL UNIQUE,
    subscription_tier text NOT NULL,
    subscription_status text NOT NULL,
    current_period_end timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_polar_customers_customer_id ON polar_customers (polar_customer_id);
CREATE INDEX idx_polar_customers_user_id ON polar_customers (user_id);

CREATE TABLE admin_audit_logs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    admin_user_id uuid REFERENCES users ON DELETE SET NULL,
    -- The ORM allows 64 characters in action_type and entity_type.
    action_type text NOT NULL,
    entity_type text NOT NULL,
    entity_id text,
    changes_json jsonb,
    ip_address varchar(64),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_admin_audit_logs_admin ON admin_audit_logs (admin_user_id, created_at);

-- MCP servers ----------------------------------------------------------------------------------------------------------

CREATE TABLE mcp_tool_invocations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tool_name text NOT NULL,
    server_name text NOT NULL,
    actor_type text NOT NULL CHECK (actor_type IN ('admin', 'user', 'system')),
    actor_id uuid REFERENCES users ON DELETE SET NULL,
    duration_ms integer NOT NULL,
    success boolean NOT NULL,
    error_code text,
    correlation_id uuid NOT NULL,
    "timestamp" timestamptz NOT NULL DEFAULT now(),
    resource_ref text,
    rate_limit_applied boolean NOT NULL DEFAULT false
);
CREATE INDEX idx_mcp_tool_invocations_server_ts ON mcp_tool_invocations (server_name, "timestamp");
CREATE INDEX idx_mcp_tool_invocations_actor_ts ON mcp_tool_invocations (actor_id, "timestamp");
CREATE INDEX idx_mcp_tool_invocations_tool_ts ON mcp_tool_invocations (tool_name, "timestamp" DESC);

CREATE TABLE mcp_server_metrics (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    server_name text NOT NULL,
    date date NOT NULL,
    p95_latency_ms integer NOT NULL,
    error_rate_pct numeric(5, 2) NOT NULL,
    seq_latency_ms integer,
    parallel_latency_ms integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The ORM does not have this one: a database made by it takes two rows a day.
    UNIQUE (server_name, date)
);

CREATE TABLE mcp_drift_snapshots (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    server_name text NOT NULL,
    diff_json jsonb NOT NULL,
    detected_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    status text NOT NULL DEFAULT 'detected' CHECK (status IN ('detected', 'resolved'))
);
CREATE INDEX idx_mcp_drift_snapshots_server_detected ON mcp_drift_snapshots (server_name, detected_at);

-- Keys and secrets -----------------------------------------------------------------------------------------------------

CREATE TABLE jwt_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kid text NOT NULL UNIQUE,
    -- pgp_sym_encrypt's bytea, stored as text: '\x' and hex digits.
    encrypted_secret text NOT NULL,
    algorithm text NOT NULL DEFAULT 'HS256',
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz
);
-- Nothing here keeps two keys from being active; the task must.
CREATE INDEX jwt_keys_active_idx ON jwt_keys (active);

CREATE TABLE secrets_metadata (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    environment_id uuid NOT NULL,
    name text NOT NULL,
    -- Encrypted like a signing key; metadata alone, never a secret's value.
    encrypted_metadata text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX secrets_metadata_project_env_idx ON secrets_metadata (project_id, environment_id);
CREATE INDEX secrets_metadata_name_idx ON secrets_metadata (name);

-- As the ORM and the specification have it. The migration has `action` in place of `operation`, and neither origin nor hash.
CREATE TABLE secret_audit (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    environment_id uuid NOT NULL,
    secret_name text NOT NULL,
    secret_ref_hash text NOT NULL,
    operation text NOT NULL CHECK (operation IN ('read', 'update', 'rotate')),
    origin text NOT NULL DEFAULT 'system' CHECK (origin IN ('user', 'system')),
    actor_id uuid,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb DEFAULT '{}',
    CHECK (origin = 'system' OR actor_id IS NOT NULL)
);
CREATE INDEX secret_audit_project_env_idx ON secret_audit (project_id, environment_id);
CREATE INDEX secret_audit_secret_idx ON secret_audit (secret_name);

CREATE TABLE secret_mappings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    secret_name varchar(100) NOT NULL CHECK (secret_name ~ '^[A-Z][A-Z0-9_]*$'),
    value_hash char(64) NOT NULL,
    source_scope varchar(20) NOT NULL DEFAULT 'actions',
    target_scopes text[] NOT NULL CHECK (cardinality(target_scopes) > 0),
    is_excluded boolean NOT NULL DEFAULT false,
    last_synced_at timestamptz,
    sync_status secret_sync_status NOT NULL DEFAULT 'pending',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, secret_name)
);
CREATE INDEX idx_secret_mappings_sync_status ON secret_mappings (sync_status, last_synced_at);
CREATE INDEX idx_secret_mappings_exclusion ON secret_mappings (project_id, is_excluded);

CREATE TABLE secret_exclusion_patterns (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid REFERENCES projects ON DELETE CASCADE,
    pattern varchar(200) NOT NULL,
    reason text NOT NULL,
    is_global boolean NOT NULL DEFAULT false,
    created_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, pattern),
    CHECK (is_global = (project_id IS NULL))
);
-- In their database a global pattern may stand twice, because nulls are distinct; the data model wants it once.
CREATE UNIQUE INDEX secret_exclusion_patterns_global ON secret_exclusion_patterns (pattern) WHERE is_global;
CREATE INDEX idx_secret_exclusion_global ON secret_exclusion_patterns (is_global, pattern);

-- Theirs has the primary key (id) and actor_id NOT NULL with ON DELETE SET NULL: the first makes the migration fail, the
-- second makes the deletion of a user fail. The counts are of scopes, in every event.
CREATE TABLE secret_sync_events (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    actor_id uuid REFERENCES users ON DELETE SET NULL,
    operation secret_sync_operation NOT NULL,
    secret_name varchar(100),
    affected_scopes text[] NOT NULL,
    status secret_sync_event_status NOT NULL,
    success_count integer NOT NULL DEFAULT 0,
    failure_count integer NOT NULL DEFAULT 0,
    error_message text,
    correlation_id uuid NOT NULL,
    duration_ms integer NOT NULL,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, created_at),
    CHECK (success_count + failure_count = array_length(affected_scopes, 1))
) PARTITION BY RANGE (created_at);
CREATE INDEX idx_secret_sync_events_project ON secret_sync_events (project_id, created_at DESC);
CREATE INDEX idx_secret_sync_events_correlation ON secret_sync_events (correlation_id);
CREATE INDEX idx_secret_sync_events_actor ON secret_sync_events (actor_id, created_at DESC);

-- Theirs are these three months. No default partition: an event of any later month has nowhere to go.
CREATE TABLE secret_sync_events_2025_11 PARTITION OF secret_sync_events
    FOR VALUES FROM ('2025-11-01 00:00+00') TO ('2025-12-01 00:00+00');
CREATE TABLE secret_sync_events_2025_12 PARTITION OF secret_sync_events
    FOR VALUES FROM ('2025-12-01 00:00+00') TO ('2026-01-01 00:00+00');
CREATE TABLE secret_sync_events_2026_01 PARTITION OF secret_sync_events
    FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');

CREATE TABLE github_environment_configs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    -- Provisioning calls the third one `prod`, in environments.name and at GitHub.
    environment_name varchar(20) NOT NULL CHECK (environment_name IN ('dev', 'staging', 'production')),
    github_environment_id integer NOT NULL,
    protection_rules jsonb NOT NULL,
    -- [{"name": …, "lastUpdatedAt": …}], never a value.
    secrets jsonb NOT NULL DEFAULT '[]',
    linked_resources jsonb NOT NULL DEFAULT '{}',
    status github_environment_status NOT NULL DEFAULT 'provisioning',
    last_deployment_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, environment_name)
);
CREATE INDEX idx_github_env_status ON github_environment_configs (status);

CREATE TABLE github_api_quotas (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    quota_type github_api_quota_type NOT NULL,
    remaining integer NOT NULL CHECK (remaining >= 0),
    limit_value integer NOT NULL,
    reset_at timestamptz NOT NULL,
    last_checked_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, quota_type),
    CHECK (remaining <= limit_value)
);
CREATE INDEX idx_github_quota_reset ON github_api_quotas (reset_at);

-- Specifications and the design system ---------------------------------------------------------------------------------

CREATE TABLE spec_versions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    version varchar(32) NOT NULL,
    constitution_version varchar(32) NOT NULL,
    spec_hash varchar(64) NOT NULL,
    spec_path varchar(512) NOT NULL,
    description varchar(1024),
    author varchar(256),
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE spec_artifacts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES projects,
    feature_dir varchar(512) NOT NULL,
    source_path varchar(1024) NOT NULL,
    artifact_type spec_artifact_type NOT NULL,
    artifact_path varchar(1024) NOT NULL,
    checksum varchar(128) NOT NULL,
    spec_version_id uuid REFERENCES spec_versions,
    constitution_version varchar(32),
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

CREATE TABLE design_tokens (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    category token_category NOT NULL,
    value jsonb NOT NULL,
    accessibility_meta jsonb,
    version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX design_tokens_name_idx ON design_tokens (name);

CREATE TABLE design_token_versions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    version integer NOT NULL,
    -- By token name {"category": …, "value": …}; `hash` is the SHA-256 of it, all keys sorted at every depth.
    snapshot jsonb NOT NULL,
    hash text NOT NULL,
    created_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX design_token_versions_hash_idx ON design_token_versions (hash);
CREATE INDEX design_token_versions_version_idx ON design_token_versions (version);

CREATE TABLE design_drift_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    baseline_version integer NOT NULL,
    current_hash text NOT NULL,
    diff jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX design_drift_events_baseline_version_idx ON design_drift_events (baseline_version);

-- Row-level security ---------------------------------------------------------------------------------------------------
--
-- Enabled, not forced: the tables' owner sees everything. Nobody else can insert, update or delete, since there are no
-- policies for that, except that users update themselves.
-- Theirs shows every user all administrators (it tests the row's role, not the asker's); here the asker's counts, as the
-- documents have it. Each policy calls the function for the row, as theirs does; (SELECT auth.role()) would call it once.

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE admin_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE polar_customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE admin_audit_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp_tool_invocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp_server_metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp_drift_snapshots ENABLE ROW LEVEL SECURITY;

CREATE POLICY users_select_self ON users FOR SELECT USING (auth.role() = 'admin' OR id = auth.uid());
CREATE POLICY users_update_self ON users FOR UPDATE USING (auth.role() = 'admin' OR id = auth.uid());

CREATE POLICY admin_sessions_select_admin ON admin_sessions FOR SELECT USING (
    EXISTS (SELECT FROM users AS u WHERE u.id = admin_sessions.user_id AND u.role = 'admin') AND auth.role() = 'admin'
);
CREATE POLICY user_sessions_select_owner ON user_sessions FOR SELECT USING (
    EXISTS (
        SELECT FROM users AS u
        WHERE u.id = user_sessions.user_id AND (u.id = auth.uid() OR auth.role() = 'admin')
    )
);
CREATE POLICY polar_customers_select_owner ON polar_customers FOR SELECT USING (
    EXISTS (
        SELECT FROM users AS u
        WHERE u.id = polar_customers.user_id AND (u.id = auth.uid() OR auth.role() = 'admin')
    )
);
CREATE POLICY admin_audit_logs_select_admin ON admin_audit_logs FOR SELECT USING (auth.role() = 'admin');
CREATE POLICY mcp_tool_invocations_select_actor ON mcp_tool_invocations FOR SELECT USING (
    actor_id = auth.uid() OR auth.role() = 'admin'
);
CREATE POLICY mcp_server_metrics_select_admin ON mcp_server_metrics FOR SELECT USING (auth.role() = 'admin');
CREATE POLICY mcp_drift_snapshots_select_admin ON mcp_drift_snapshots FOR SELECT USING (auth.role() = 'admin');

INSERT INTO secret_exclusion_patterns (pattern, reason, is_global) VALUES
    ('^GITHUB_TOKEN$', 'GitHub''s own token', true),
    ('^ACTIONS_.*', 'set by the Actions runtime', true),
    ('^RUNNER_.*', 'set by the runner', true),
    ('^CI$', 'set by every runner', true),
    ('^GITHUB_WORKSPACE$', 'set by the runner', true),
    ('^GITHUB_SHA$', 'set by the runner', true),
    ('^GITHUB_REF$', 'set by the runner', true);
