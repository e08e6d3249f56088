"""What we remember: tables, transactions, migrations; the only room that knows a database."""
