-- The database of another team's application, in which customers say what they wish for.
-- It is as such databases are: keys of several columns, tables that don't tell when a row was changed, no two alike.

create type idea_status as enum ('new', 'planned', 'in_progress', 'released', 'declined');

create table boards (
    id smallint primary key,
    name text not null unique,
    is_public boolean not null
);

create table ideas (
    id bigint generated always as identity primary key,
    board_id smallint not null references boards (id),
    author_id uuid not null,                -- a user of the product, in another database
    title text not null,
    body text,
    status idea_status not null default 'new',
    labels text[] not null default '{}',
    details jsonb,                          -- {"source": "call", "customer": {"plan": "team", "seats": 12}}
    effort_days numeric(6, 2),              -- null until estimated
    planned_for date,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table votes (
    idea_id bigint not null references ideas (id) on delete cascade,
    voter_id uuid not null,
    weight numeric(4, 1) not null,
    created_at timestamptz not null,        -- a vote whose weight is changed doesn't say when
    primary key (idea_id, voter_id)
);

create table comments (
    id uuid primary key,
    idea_id bigint not null references ideas (id) on delete cascade,
    author_id uuid not null,
    body text not null,
    internal boolean not null,
    created_at timestamptz not null,
    edited_at timestamptz
);

create table releases (
    version text primary key,
    notes text,
    released_on date not null
);

create table release_ideas (
    version text not null references releases (version),
    idea_id bigint not null references ideas (id) on delete cascade,
    primary key (version, idea_id)
);
