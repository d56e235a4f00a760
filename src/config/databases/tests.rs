use std::time::Duration;

use crate::config::{Config, Flag, Secret, Sources, check, load};

const TWO: &str = "\
[workers]
max = 6
[log]
level = 'warn'
[[database]]
name = 'shop'
url = 'postgres://ann:hunter2@db1:6000/x'
[database.workers]
max = 2
[[database]]
host = 'db2'
dbname = 'my-crm'
scheduler.lock_timeout = '9s'
";

fn with(toml: &str, environment: &[(&str, &str)]) -> Sources {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let (_, path) = file.keep().unwrap();
    std::fs::write(&path, toml).unwrap();
    Sources {
        file: Some(path),
        environment: environment.iter().copied().collect(),
        ..Sources::default()
    }
}

fn configs(sources: &Sources) -> Vec<Config> {
    let loaded = load(sources).unwrap_or_else(|problems| panic!("{problems}"));
    std::fs::remove_file(sources.file.as_ref().unwrap()).unwrap();
    loaded.databases.into_iter().map(|d| d.config).collect()
}

/// The problems, with the file called `m.toml`.
fn problems(sources: &Sources) -> Vec<String> {
    let path = sources.file.as_ref().unwrap();
    let report = check(sources);
    std::fs::remove_file(path).unwrap();
    let shown = |problem: &crate::config::Problem| {
        problem
            .to_string()
            .replace(&path.display().to_string(), "m.toml")
    };
    report.problems.iter().map(shown).collect()
}

#[test]
fn each_has_its_own_connection_and_limits_and_the_rest_is_common() {
    let databases = configs(&with(TWO, &[]));
    let [shop, crm] = databases.as_slice() else {
        panic!("{databases:?}");
    };
    assert_eq!(shop.name(), Some("shop"));
    assert_eq!(shop.database.host.as_deref(), Some("db1"));
    assert_eq!(shop.database.password, Some(Secret::new("hunter2")));
    assert_eq!((shop.workers.max, shop.workers.long_max()), (2, 1));
    assert_eq!(crm.name(), Some("my-crm"));
    assert_eq!(crm.database.host.as_deref(), Some("db2"));
    assert_eq!(crm.database.password, None);
    assert_eq!((crm.workers.max, crm.workers.long_max()), (6, 5));
    assert_eq!(crm.scheduler.lock_timeout, Duration::from_secs(9));
    assert_eq!(shop.scheduler.lock_timeout, Duration::from_secs(5));
    assert_eq!((&shop.log, &shop.http), (&crm.log, &crm.http));
    assert_eq!(shop.log.level, "warn");
}

#[test]
fn variables_are_about_all_databases_or_about_the_one_they_name() {
    let environment = [
        ("MVREFRESHD_WORKERS__MAX", "9"),
        ("MVREFRESHD_DATABASE__SCHEMA", "mv"),
        ("PGUSER", "bob"),
        ("MVREFRESHD_DATABASE__SHOP__PASSWORD", "007"),
        ("MVREFRESHD_DATABASE__MY_CRM__WORKERS__MAX", "3"),
        ("MVREFRESHD_DATABASE__MY_CRM__URL", "host=db3"),
    ];
    let databases = configs(&with(TWO, &environment));
    let [shop, crm] = databases.as_slice() else {
        panic!("{databases:?}");
    };
    assert_eq!(shop.workers.max, 9);
    assert_eq!(shop.database.password, Some(Secret::new("007")));
    assert_eq!(crm.workers.max, 3);
    assert_eq!(crm.database.host.as_deref(), Some("db3"));
    for config in [shop, crm] {
        assert_eq!(config.database.schema, "mv");
        assert_eq!(config.database.user.as_deref(), Some("bob"));
    }
    let sources = with(TWO, &[("MVREFRESHD_DATABASE__SHOPP__PORT", "1")]);
    assert_eq!(
        problems(&sources),
        [
            "environment variable MVREFRESHD_DATABASE__SHOPP__PORT: names no key: did you mean \
             \"MVREFRESHD_DATABASE__SHOP__PORT\"?"
        ]
    );
}

#[test]
fn a_connection_string_from_above_is_the_one_database_and_that_is_said() {
    let mut sources = with(TWO, &[("DATABASE_URL", "postgres://carl@db9/z")]);
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.databases.len(), 1);
    let config = loaded.first();
    assert_eq!(config.database.host.as_deref(), Some("db9"));
    assert_eq!((&config.database.password, config.workers.max), (&None, 6));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "environment variable DATABASE_URL: one database is named here, so the [[database]] tables are not used"
        ]
    );
    sources.environment = [("", "")].into_iter().collect();
    sources.flags.push(Flag {
        option: "--database-url",
        key: "database.url",
        value: "dbname=y".to_owned(),
    });
    let databases = configs(&sources);
    assert_eq!(databases.len(), 1);
    assert_eq!(databases[0].database.dbname.as_deref(), Some("y"));
}

#[test]
fn one_is_chosen_by_its_name_and_a_command_that_needs_one_says_which_there_are() {
    let mut sources = with(TWO, &[]);
    let error = load(&sources).unwrap().only().unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"option --database: 2 databases are configured: say which one: --database NAME, of "shop", "my-crm""#
    );
    sources.database = Some("my-crm".to_owned());
    let config = load(&sources).unwrap().only().unwrap();
    assert_eq!(config.database.host.as_deref(), Some("db2"));
    sources.database = Some("shopp".to_owned());
    assert_eq!(
        problems(&sources),
        [
            r#"option --database: no database is called "shopp"; configured: "shop", "my-crm": did you mean "shop"?"#
        ]
    );
}

#[test]
fn databases_that_are_not_told_apart_are_refused() {
    for (toml, expected) in [
        (
            "[[database]]\nhost = 'a'\n[[database]]\ndbname = 'b'\n",
            "m.toml:2: a [[database]] needs a name: give database.name, or database.dbname",
        ),
        (
            "[[database]]\nname = 'a-b'\n[[database]]\n\nname = 'A_b'\nhost = 'c'\n",
            "m.toml:5: another [[database]] is called \"A_b\" already, or nearly so: give each a database.name of its own",
        ),
        (
            "[[database]]\ndbname = 'a'\n[[database]]\nname = 'b'\ndbname = 'a'\n",
            "m.toml:4: \"b\" is the same database as \"a\", with the same module schema",
        ),
    ] {
        assert_eq!(problems(&with(toml, &[])), [expected], "{toml}");
    }
}

#[test]
fn problems_in_a_table_have_its_line_and_common_ones_are_told_once() {
    let toml = "\
[[database]]
name = 'a'
prot = 5
[database.workers]
max = 0
[[database]]
name = 'b'
[database.http]
listen = 'off'
[database.worker]
max = 1
[scheduler]
poll_interval = 0
";
    let mut found = problems(&with(toml, &[]));
    found.sort();
    assert_eq!(
        found,
        [
            "m.toml:10: unknown section \"worker\": did you mean \"workers\"?",
            "m.toml:13: scheduler.poll_interval = \"0s\": must be from 100ms to 1h",
            "m.toml:3: unknown key \"database.prot\": did you mean \"database.port\"?",
            "m.toml:5: workers.max = 0: must be from 1 to 200",
            "m.toml:7: \"b\" is the same database as \"a\", with the same module schema",
            "m.toml:8: \"http\" is for all databases: write [http]",
        ]
    );
}

#[test]
fn the_effective_configuration_of_several_reads_back_the_same_and_shows_no_secret() {
    let sources = with(
        TWO,
        &[("MVREFRESHD_DATABASE__SHOP__WORKERS__LONG_MAX", "1")],
    );
    let loaded = load(&sources).unwrap();
    let text = loaded.to_toml();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(
        text.contains(
            "long_max = 1  # environment variable MVREFRESHD_DATABASE__SHOP__WORKERS__LONG_MAX"
        ),
        "{text}"
    );
    assert!(text.contains("toml:9\n"), "{text}");
    let again = configs(&with(&text, &[]));
    let mut before = configs(&sources);
    before[0].database.password = Some(Secret::new("***"));
    assert_eq!(again, before);
}
