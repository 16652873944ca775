"""A fake of Metabase, so that every job runs to its end without a Metabase server.

It answers and refuses the HTTP calls of dbt-metabase as Metabase does, stores what they set, and
shows it on one page. It draws no charts and runs no queries. It answers 501 to every call that it
does not implement. The behaviour follows Metabase's own sources (`warehouse_schema/api`,
`warehouses_rest/api`, `sync`, and the `bigquery-cloud-sdk` driver).
"""
