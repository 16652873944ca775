-- Of which streams some columns, or all, may not be read.
select
    pg_namespace.nspname || '-' || pg_class.relname as stream,
    format('%%I.%%I', pg_namespace.nspname, pg_class.relname) as relation,
    array_agg(pg_attribute.attname::text order by pg_attribute.attnum) as columns,
    not has_any_column_privilege(pg_class.oid, 'select') as is_whole
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
inner join pg_catalog.pg_attribute on pg_attribute.attrelid = pg_class.oid
where
    pg_namespace.nspname || '-' || pg_class.relname = any(%s)
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
    and not has_column_privilege(pg_class.oid, pg_attribute.attnum, 'select')
group by pg_class.oid, pg_namespace.nspname, pg_class.relname
order by stream
