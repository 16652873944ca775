"""A tool that asks users how they like the product; nobody's API, with pages by a cursor."""
