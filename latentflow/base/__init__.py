"""The ground: errors, records, options, files and sessions. Nothing above is imported here."""
