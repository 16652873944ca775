"""A fake of Metabase, so that every job runs to its end without a Metabase server.

It answers and refuses the HTTP calls that dbt-metabase sends as Metabase does, keeps what it is
told, and shows it on one page. It draws no charts and runs no queries: what it does not implement
it answers with 501. The behaviour follows Metabase's own sources (`warehouse_schema/api`,
`warehouses_rest/api`, `sync`, and the `bigquery-cloud-sdk` driver).
"""
