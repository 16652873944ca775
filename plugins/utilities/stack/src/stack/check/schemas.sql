-- Which of the schemas are there, and may be used.
select
    wanted.name,
    pg_namespace.oid is not null as is_there,
    coalesce(has_schema_privilege(pg_namespace.oid, 'usage'), false) as is_usable
from unnest(%s::text[]) as wanted (name)
left join pg_catalog.pg_namespace on pg_namespace.nspname = wanted.name
