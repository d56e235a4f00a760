//! Tables with logs of the test's own.

use mvrefreshd::sql::identifier;

use crate::generate::COLUMNS;
use crate::scenario::TableOf;
use crate::words::Names;

/// A table with a log of the shape that the engine reads, and plain triggers that fill it.
pub(super) fn table_with_log(table: &TableOf, names: &Names, number: usize) -> String {
    let name = identifier(names.of(&table.table.name));
    let ddl = names.applied(&table.ddl());
    let logged: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(n, column)| format!("c{} {}", n + 1, COLUMNS[*column].1))
        .collect();
    let listed: Vec<String> = (1..=table.columns.len()).map(|n| format!("c{n}")).collect();
    let log = format!("%module%.\"log${number}\"");
    let into = format!("INSERT INTO {log} (weight, {}) SELECT", listed.join(", "));
    let function = format!("%module%.log_{number}()");
    format!(
        "{ddl}
CREATE TABLE {log} (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), weight smallint NOT NULL, {logged});
CREATE INDEX ON {log} (xid);
CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN INSERT INTO {log} (weight) VALUES (0); RETURN NULL; END IF;
    IF TG_OP <> 'INSERT' THEN {into} -1, r.* FROM old_rows r; END IF;
    IF TG_OP <> 'DELETE' THEN {into} 1, r.* FROM new_rows r; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER log_insert AFTER INSERT ON {name} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {function};
CREATE TRIGGER log_update AFTER UPDATE ON {name} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {function};
CREATE TRIGGER log_delete AFTER DELETE ON {name} REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION {function};
CREATE TRIGGER log_truncate AFTER TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION {function};",
        logged = logged.join(", "),
    )
}
