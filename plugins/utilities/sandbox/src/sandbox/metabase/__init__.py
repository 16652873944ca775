"""A fake of Metabase, so that every job runs to its end without a Metabase server.

It answers and refuses the HTTP calls of dbt-metabase and metabase-content as Metabase does, stores
what they set, runs questions on the local BigQuery, and draws dashboards. It answers 501 to every
call that it does not implement. The behaviour follows Metabase's own sources
(`warehouse_schema/api`, `warehouses_rest/api`, `sync`, `collections_rest`, `queries_rest`,
`dashboards_rest`, `lib`, and the `bigquery-cloud-sdk` driver).
"""
