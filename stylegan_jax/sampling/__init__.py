"""The library for notebooks, tools and the studio: load a model, map, truncate, draw, project, export."""
