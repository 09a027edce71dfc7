"""Turn reports into text; nothing is printed here."""
