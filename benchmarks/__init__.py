"""The claims of this project, each a script that prints a table and writes JSON."""
