//! Installing, checking and removing the module schema.

mod error;
mod removal;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, FromRow};

use crate::connect::{describe, sqlstate};
use crate::sql::{self, ModuleSchema, composed};

pub use error::InstallError;
pub use removal::uninstall;

/// How long an upgrade waits for whoever is using what it changes, a running refresh say, before it gives way: others wait
/// behind it meanwhile.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout TO '2s'";

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The version before; 0 if there was none.
    pub from: i64,
    /// The version now.
    pub to: i64,
    /// Statements for an administrator: roles that this role may not create.
    pub for_administrator: Vec<String>,
}

#[derive(Debug, FromRow)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "answers of one query, not states"
)]
struct Situation {
    role: String,
    database: String,
    read_only: bool,
    may_create: bool,
    owner: Option<String>,
    is_owner: Option<bool>,
    has_migrations: bool,
    is_module: bool,
    is_empty: bool,
}

impl Situation {
    /// Something of somebody else's is there. Other programs have a table `_sqlx_migrations`, too: it alone says nothing.
    fn is_foreign(&self) -> bool {
        self.owner.is_some() && !self.is_empty && !(self.has_migrations && self.is_module)
    }
}

async fn situation(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Situation> {
    sql::query_as(
        "SELECT current_user::text AS role,
                current_database()::text AS database,
                pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
                has_database_privilege(current_database(), 'CREATE') AS may_create,
                pg_get_userbyid(n.nspowner)::text AS owner,
                pg_has_role(n.nspowner, 'USAGE') AS is_owner,
                to_regclass(format('%I._sqlx_migrations', $1)) IS NOT NULL AS has_migrations,
                to_regprocedure(format('%I.module_schema()', $1)) IS NOT NULL AS is_module,
                -- an installation that was cut short leaves its still empty list of migrations
                NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname NOT LIKE '\\_sqlx\\_migrations%')
                    AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid) AS is_empty
         FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = $1",
    )
    .bind(schema.name())
    .fetch_one(connection)
    .await
}

/// The newest version this program knows.
#[must_use]
pub fn known_version() -> i64 {
    newest(&MIGRATIONS)
}

fn newest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|m| m.version).max().unwrap_or(0)
}

/// The version of the module schema, which has to be there; 0 if it is empty.
pub async fn installed_version(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<i64> {
    let sql = schema.sql("SELECT coalesce(max(version), 0) FROM @._sqlx_migrations");
    sql::query_scalar(sql).fetch_one(connection).await
}

/// Fails unless the module schema is there, complete and of this program's version.
pub async fn require(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> Result<(), InstallError> {
    let situation = situation(connection, schema).await?;
    let installed = if situation.has_migrations && situation.is_module {
        installed_version(connection, schema).await?
    } else {
        0
    };
    if installed == known_version() {
        Ok(())
    } else {
        Err(other_version(schema.to_string(), installed))
    }
}

/// Why a module schema (quoted) of another version than this program's won't do.
#[must_use]
pub fn other_version(schema: String, installed: i64) -> InstallError {
    let known = known_version();
    if installed < known {
        InstallError::Older {
            schema,
            installed,
            known,
        }
    } else {
        InstallError::Newer {
            schema,
            installed,
            known,
        }
    }
}

/// Installs or upgrades the module schema, and gives its roles their rights, all in one transaction: whoever is using the
/// module meanwhile sees the old version or the new one, and nothing of it stays if it fails.
pub async fn install(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> Result<Installed, InstallError> {
    install_migrations(connection, schema, &MIGRATIONS).await
}

/// As [`install`], with given migrations (for tests of upgrades).
#[doc(hidden)]
pub async fn install_migrations(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    migrations: &Migrator,
) -> Result<Installed, InstallError> {
    let mut transaction = connection.begin().await?;
    lock_out_other_installers(&mut transaction, schema).await?;
    let installed = install_alone(&mut transaction, schema, migrations).await?;
    transaction.commit().await?;
    Ok(installed)
}

async fn install_alone(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    migrations: &Migrator,
) -> Result<Installed, InstallError> {
    let known = newest(migrations);
    let before = situation(connection, schema).await?;
    if before.is_foreign() {
        return Err(InstallError::Foreign {
            schema: schema.to_string(),
        });
    }
    let from = if before.has_migrations {
        installed_version(connection, schema).await?
    } else {
        0
    };
    let quoted = schema.to_string();
    if from > 0 && !before.is_module {
        return Err(InstallError::Foreign { schema: quoted });
    }
    if from > known {
        return Err(InstallError::Newer {
            schema: quoted,
            installed: from,
            known,
        });
    }
    match &before.owner {
        Some(owner) if before.is_owner == Some(false) && from < known => {
            return Err(InstallError::OtherOwner {
                schema: quoted,
                owner: owner.clone(),
            });
        }
        _ if before.read_only && from < known => return Err(InstallError::ReadOnly),
        // complete already, and installed by another role, or nothing can be written now
        _ if before.read_only || before.is_owner == Some(false) => {
            return Ok(Installed {
                from,
                to: known,
                for_administrator: Vec::new(),
            });
        }
        None if !before.may_create => {
            let (role, database) = (before.role, before.database);
            return Err(InstallError::MayNotCreate { role, database });
        }
        None => {
            connection
                .execute(composed(format!("CREATE SCHEMA {schema}")))
                .await?;
        }
        Some(_) => {}
    }
    apply(connection, schema, migrations).await?;
    let for_administrator = finish(connection, schema, from < known).await?;
    Ok(Installed {
        from,
        to: known,
        for_administrator,
    })
}

/// To the end of the transaction.
async fn lock_out_other_installers(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<()> {
    sql::query("SELECT pg_advisory_xact_lock(hashtext('mvrefreshd install'), hashtext($1))")
        .bind(schema.name())
        .execute(connection)
        .await?;
    Ok(())
}

async fn apply(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    migrations: &Migrator,
) -> Result<(), InstallError> {
    // the migrations are unqualified: this is what they, and the functions they pin, see
    let path = composed(format!("SET LOCAL search_path TO {schema}, pg_temp"));
    connection.execute(path).await?;
    // sqlx would log that its table exists already
    connection
        .execute("SET LOCAL client_min_messages TO warning")
        .await?;
    // whoever comes after us waits as long for what we wait for
    connection.execute(LOCK_TIMEOUT).await?;
    // sqlx prepares under names here, which a pooler's session may know already, and which it must not keep
    connection.execute("DEALLOCATE ALL").await?;
    let mut migrator = Migrator::with_migrations(migrations.iter().cloned().collect());
    migrator.dangerous_set_table_name(format!("{schema}._sqlx_migrations"));
    migrator.set_locking(false);
    let result = migrator.run_direct(None, &mut *connection, false).await;
    result.map_err(|error| migration_error(error, schema, migrations))?;
    connection.execute("DEALLOCATE ALL").await?;
    Ok(())
}

fn migration_error(
    error: MigrateError,
    schema: &ModuleSchema,
    migrations: &Migrator,
) -> InstallError {
    let schema = schema.to_string();
    match error {
        MigrateError::Execute(error) if sqlstate(&error).as_deref() == Some("25006") => {
            InstallError::ReadOnly
        }
        MigrateError::Execute(error) => InstallError::Database(error),
        MigrateError::ExecuteMigration(error, version)
            if sqlstate(&error).as_deref() == Some("55P03") =>
        {
            InstallError::Busy { schema, version }
        }
        MigrateError::ExecuteMigration(error, version) => {
            let message = describe(&error);
            InstallError::Migration { version, message }
        }
        MigrateError::VersionMismatch(version) => InstallError::Different { schema, version },
        MigrateError::VersionMissing(installed) => {
            let known = newest(migrations);
            InstallError::Newer {
                schema,
                installed,
                known,
            }
        }
        error => InstallError::Database(sqlx::Error::Migrate(Box::new(error))),
    }
}

async fn finish(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    is_new: bool,
) -> sqlx::Result<Vec<String>> {
    let statements = sql::query_scalar(schema.sql("SELECT * FROM @.create_module_roles()"))
        .fetch_all(&mut *connection)
        .await?;
    connection
        .execute(schema.sql("SELECT @.forget_stray_numbers(), @.grant_privileges()"))
        .await?;
    if is_new {
        // only now: recorded later, a damaged object would pass for right
        connection
            .execute(schema.sql("SELECT @.record_module_objects()"))
            .await?;
        // daemons of the old version step aside at once
        sql::query("SELECT pg_catalog.pg_notify($1, '')")
            .bind(schema.name())
            .execute(&mut *connection)
            .await?;
    }
    Ok(statements)
}

/// One object as the self-check found it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct CheckRow {
    /// `table`, `function`, `role`, `materialized view`, …
    pub object_kind: String,
    /// Its name.
    pub object_name: String,
    /// `fine`, or what is wrong.
    pub status: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// Compares every object of the module with what was installed, and every materialized view with its definition.
pub async fn self_check(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<CheckRow>> {
    let sql = schema.sql(
        "SELECT object_kind, object_name, status, remedy FROM @.self_check() ORDER BY status = 'fine', 1, 2",
    );
    sql::query_as(sql).fetch_all(connection).await
}
