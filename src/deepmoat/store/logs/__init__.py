"""The log store: ClickHouse, embedded or a server, through clickhouse-connect."""
