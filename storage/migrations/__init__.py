"""The database's schema through time; every change of ``storage/tables.py`` has its migration here."""
