"""The program ``normdrop``: one file a command, each with ``add_parser`` and what it runs."""
