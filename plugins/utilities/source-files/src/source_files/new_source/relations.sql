-- Tables and views that are nobody's own: no partitions, no temporary ones, none of an extension.
select
    pg_namespace.nspname || '-' || pg_class.relname as stream,
    pg_namespace.nspname as schema,
    pg_class.relname as relation,
    has_schema_privilege(pg_namespace.oid, 'usage') as may_enter,
    has_table_privilege(pg_class.oid, 'select') as may_read,
    case
        when pg_class.relkind in ('v', 'm') then 'a view'
        else
            coalesce('~' || to_char(parts.row_count, 'FM999,999,999,990') || ' rows, ', '')
            || pg_size_pretty(parts.byte_count)
    end as size
from pg_class
inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
cross join lateral (
    select
        sum(part.reltuples) filter (where part.reltuples >= 0)::bigint as row_count,
        sum(pg_total_relation_size(part.oid))::bigint as byte_count
    from pg_class as part
    where
        part.oid = pg_class.oid
        or part.oid in (select relid from pg_partition_tree(pg_class.oid) where isleaf)
) as parts
where
    pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_class.relpersistence <> 't'
    and not pg_class.relispartition
    and pg_namespace.nspname <> 'information_schema'
    and pg_namespace.nspname !~ '^pg_'
    and not exists (
        select from pg_depend
        where
            pg_depend.classid = 'pg_class'::regclass
            and pg_depend.objid = pg_class.oid
            and pg_depend.deptype = 'e'
    )
order by 1
