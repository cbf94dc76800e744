"""How models write tool calls: one small incremental parser for each format, and which format a model has."""
