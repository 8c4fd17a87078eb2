"""The report: one self-contained page about a run. Python gathers and writes a JSON document, static/ draws it in a browser."""
