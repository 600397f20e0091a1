"""What a schema is made of, for comparing two: tables, columns, constraints, indexes, triggers, functions, views."""

from sqlalchemy import text

from models.storage import Database

#: Each part is one row of kind, name and definition.
POSTGRESQL = """
SELECT 'column' AS kind, c.relname || '.' || a.attname AS name,
       concat_ws(' ', row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
                 a.attnotnull, a.attidentity, a.attstattarget, pg_get_expr(d.adbin, d.adrelid)) AS definition
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) || ' ' || convalidated
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) || ' ' || indisvalid
FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid) || ' ' || tgenabled::text
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'view', c.relname, pg_get_viewdef(c.oid) FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v'
UNION ALL
SELECT 'sequence', sequencename, concat_ws(' ', data_type, start_value, increment_by, cycle) FROM pg_sequences
"""
#: SQLite keeps the statements themselves.
SQLITE = "SELECT type AS kind, name, COALESCE(sql, '') AS definition FROM sqlite_schema"


def shape_of(database: Database) -> set[tuple[str, str, str]]:
    """Its parts, by kind and name."""
    statement = SQLITE if database.dialect == "sqlite" else POSTGRESQL
    with database.reading() as tx:
        return {(row.kind, row.name, row.definition) for row in tx.connection.execute(text(statement))}
