"""Singer tap for Airbyte's declarative manifests."""
