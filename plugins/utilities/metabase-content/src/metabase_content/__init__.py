"""Questions and dashboards as code: files in Metabase's representation format, and its REST API."""
