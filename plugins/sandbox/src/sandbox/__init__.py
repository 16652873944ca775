"""The local world: Postgres, a BigQuery emulator and a Metabase stand-in on loopback."""
