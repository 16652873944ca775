"""A tool that watches whether the product answers; nobody's API, with numbered pages."""
