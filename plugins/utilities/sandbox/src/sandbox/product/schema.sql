-- The product database of an incident-management SaaS.
-- Every table bears `updated_at` and loses rows for good. Organisations that were set up, users who
-- took part in incidents and incidents that were no rehearsals are kept, or archived.

create type user_role as enum ('owner', 'admin', 'responder', 'viewer');
create type incident_status as enum ('triage', 'investigating', 'fixing', 'monitoring', 'closed', 'declined');
create type incident_severity as enum ('minor', 'major', 'critical');
create type incident_visibility as enum ('public', 'private');
create type participant_role as enum ('lead', 'responder', 'observer');
create type action_status as enum ('outstanding', 'completed', 'not_doing');
create type timeline_item_kind as enum (
    'message', 'status_change', 'severity_change', 'role_assigned', 'action_created', 'github_pull_request', 'note'
);
create type workflow_trigger as enum ('incident_created', 'incident_updated', 'incident_closed', 'schedule');

create table organisations (
    id uuid primary key,
    name text not null,
    slug text not null unique,
    slack_team_id text,                     -- null until Slack is connected
    tags text[] not null default '{}',
    settings jsonb not null default '{}',   -- {"default_severity": "minor", "auto_archive_days": 30, "features": {"workflows": true, "private_incidents": false}}
    annual_contract_value numeric(12, 2),   -- what sales agreed, in whole dollars and cents; null before a contract
    setup_completed_at timestamptz,         -- null while in the setup flow
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz
);

create table users (
    id uuid primary key,
    organisation_id uuid not null references organisations (id),
    name text not null,
    email text not null,
    slack_user_id text,                     -- null for people who only use the web
    role user_role not null,
    time_zone text,
    preferences jsonb not null default '{}', -- {"locale": "en-GB", "theme": "dark", "notifications": {"email": true, "sms": false}}
    active boolean not null,
    last_seen_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz
);

create table incidents (
    id uuid primary key,
    organisation_id uuid not null references organisations (id),
    reference integer not null,             -- counts up within an organisation: INC-1, INC-2, …; with gaps where one was deleted
    name text not null,
    summary text,
    status incident_status not null,
    severity incident_severity,             -- null in triage
    visibility incident_visibility not null,
    test boolean not null,                  -- rehearsals
    labels text[] not null default '{}',
    custom_fields jsonb,                    -- {"affected_team": "Payments", "customers_affected": 12, "cause": {"kind": "deploy", "detail": "…"}}
    estimated_cost numeric(14, 4),
    creator_id uuid not null references users (id),
    lead_id uuid references users (id),
    detected_at timestamptz,
    resolved_at timestamptz,
    closed_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    unique (organisation_id, reference)
);

create table incident_participants (
    incident_id uuid not null references incidents (id),
    user_id uuid not null references users (id),
    organisation_id uuid not null references organisations (id),
    role participant_role not null,
    message_count integer not null,
    joined_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (incident_id, user_id)
);

create table actions (
    id uuid primary key,
    organisation_id uuid not null references organisations (id),
    incident_id uuid not null references incidents (id),
    assignee_id uuid references users (id),
    description text not null,
    status action_status not null,
    follow_up boolean not null,             -- to be done once the incident is over
    due_on date,
    external_issue jsonb,                   -- {"provider": "linear", "key": "ENG-123", "url": "https://…"}
    completed_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table timeline_items (
    id uuid primary key,
    organisation_id uuid not null references organisations (id),
    incident_id uuid not null references incidents (id),
    user_id uuid references users (id),     -- null when the product itself wrote it
    kind timeline_item_kind not null,
    pinned boolean not null,
    content jsonb not null,                 -- about 200 bytes: {"text": "…", "channel": "C0…", "reactions": [{"emoji": "👀", "count": 2}]}
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table announcement_rules (
    id uuid primary key,
    organisation_id uuid not null references organisations (id),
    name text not null,
    slack_channel_ids text[] not null default '{}',
    conditions jsonb not null default '[]', -- [{"field": "severity", "operator": "one_of", "values": ["major", "critical"]}]
    includes_private boolean not null,
    quiet_from time,
    quiet_until time,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table workflows (
    id uuid primary key,
    organisation_id uuid not null references organisations (id),
    name text not null,
    trigger workflow_trigger not null,
    enabled boolean not null,
    steps jsonb not null default '[]',      -- [{"name": "Page on-call", "kind": "page", "params": {"team": "SRE"}}]
    run_count bigint not null,
    failure_ratio double precision,         -- between 0 and 1; null before the first run
    last_run_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

-- What refers to an incident or a user is looked up whenever one is deleted.
create index on incidents (creator_id);
create index on incidents (lead_id);
create index on incident_participants (user_id);
create index on actions (incident_id);
create index on actions (assignee_id);
create index on timeline_items (incident_id);
create index on timeline_items (user_id);
