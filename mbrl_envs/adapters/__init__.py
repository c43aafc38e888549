"""Functional dynamics behind other libraries' interfaces, each written once for all environments."""
