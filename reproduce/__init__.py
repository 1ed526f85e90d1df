"""The reproduction of three papers: studies, records, verdicts, figures. It runs from a clone."""
