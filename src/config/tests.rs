use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A configuration file in a directory of its own.
struct Fixture {
    directory: TempDir,
    sources: Sources,
}

impl Fixture {
    fn new(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.toml");
        std::fs::write(&path, toml).unwrap();
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        Self { directory, sources }
    }

    fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.sources.environment = variables.iter().copied().collect();
        self
    }

    fn flag(mut self, option: &'static str, key: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        self.sources.flags.push(Flag { option, key, value });
        self
    }

    #[track_caller]
    fn config(&self) -> Config {
        let loaded = load(&self.sources).unwrap_or_else(|p| panic!("{p}"));
        loaded.only().unwrap_or_else(|p| panic!("{p}"))
    }

    /// The problems, with the file's path shortened to `m.toml`.
    fn problems(&self) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        check(&self.sources)
            .problems
            .iter()
            .map(|problem| problem.to_string().replace(&prefix, ""))
            .collect()
    }
}

#[track_caller]
fn assert_problems(toml: &str, expected: &[&str]) {
    assert_eq!(Fixture::new(toml).problems(), expected, "{toml}");
}

#[test]
fn each_layer_overrides_the_one_before_key_by_key() {
    let fixture = Fixture::new(
        "[workers]\nmax = 5\nlong_after = '2s'\n[database]\nschema = 'a'\nport = 1\nuser = 'u1'\n",
    )
    .env(&[
        ("PGPORT", "2"),
        ("PGUSER", "u2"),
        ("MVREFRESHD_WORKERS__MAX", "6"),
        ("MVREFRESHD_DATABASE__SCHEMA", "b"),
        ("MVREFRESHD_DATABASE__USER", "u3"),
    ])
    .flag("--schema", "database.schema", "c");
    let config = fixture.config();
    assert_eq!(config.workers.max, 6);
    assert_eq!(config.workers.long_after, Duration::from_secs(2));
    assert_eq!(config.database.schema, "c");
    assert_eq!(config.database.port, 2);
    assert_eq!(config.database.user.as_deref(), Some("u3"));
    assert_eq!(config.history, HistoryConfig::default());
}

#[test]
fn texts_from_the_environment_stay_texts() {
    for text in [
        "007", "true", "1e5", "[x]", "{a=1}", " x ", "\"q\"", "'", "#",
    ] {
        let config = Fixture::new("")
            .env(&[
                ("PGPASSWORD", text),
                ("MVREFRESHD_DATABASE__DBNAME", text),
                ("MVREFRESHD_DATABASE__PORT", "7"),
                ("MVREFRESHD_INSTALL__ON_START", "false"),
                ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "15"),
            ])
            .config();
        assert_eq!(config.database.password, Some(Secret::new(text)));
        assert_eq!(config.database.dbname.as_deref(), Some(text));
        assert_eq!(config.database.port, 7);
        assert!(!config.install.on_start);
        assert_eq!(config.scheduler.poll_interval, Duration::from_secs(15));
    }
}

#[test]
fn all_problems_are_reported_each_with_its_file_line_and_key() {
    assert_problems(
        "[workers]\nmaxx = 3\nmax = 'many'\n[wrokers]\nmax = 1\n[scheduler]\npoll_interval = '5 parsecs'\nretry_max = '1ms'\n\
         [log]\nformat = 'jsn'\nlevel = 'verbose'\n",
        &[
            r#"m.toml:10: log.format = "jsn": must be one of "text", "json": did you mean "json"?"#,
            r#"m.toml:7: scheduler.poll_interval = "5 parsecs": "5 parsecs" is not a duration: write for example 30s, 5m, 1h30m or 7d"#,
            r#"m.toml:3: workers.max = "many": must be a whole number that is not negative"#,
            r#"m.toml:2: unknown key "workers.maxx": did you mean "workers.max"?"#,
            r#"m.toml:4: unknown section "wrokers": did you mean "workers"?"#,
            r#"m.toml:8: scheduler.retry_max = "1ms": must not be less than scheduler.retry_base, which is 1s"#,
            r#"m.toml:11: log.level = "verbose": must be off, error, warn, info, debug or trace, or directives such as info,sqlx=warn"#,
        ],
    );
}

#[test]
fn values_out_of_range_or_at_odds_with_each_other_are_refused() {
    assert_problems(
        "[workers]\nmax = 0",
        &["m.toml:2: workers.max = 0: must be from 1 to 200"],
    );
    assert_problems(
        "[workers]\nmax = 201",
        &["m.toml:2: workers.max = 201: must be from 1 to 200"],
    );
    assert_problems(
        "[workers]\nmax = 2\nlong_max = 3",
        &["m.toml:3: workers.long_max = 3: must be from 1 to workers.max, which is 2"],
    );
    assert_problems(
        "[scheduler]\npoll_interval = 0",
        &[r#"m.toml:2: scheduler.poll_interval = "0s": must be from 100ms to 1h"#],
    );
    assert_problems(
        "[scheduler]\nstatement_timeout = '1us'",
        &[r#"m.toml:2: scheduler.statement_timeout = "1us": must be from 1ms to 24days, or 0"#],
    );
    assert_problems(
        "[scheduler]\nlock_timeout = -1",
        &[
            r#"m.toml:2: scheduler.lock_timeout = -1: "-1" is not a duration (it is negative): write for example 30s, 5m, 1h30m or 7d"#,
        ],
    );
    assert_problems(
        "[database]\nschema = ''",
        &[r#"m.toml:2: database.schema = "": a schema needs a name"#],
    );
    assert_problems(
        "[database]\nschema = 'pg_x'",
        &[r#"m.toml:2: database.schema = "pg_x": names that start with pg_ are PostgreSQL's own"#],
    );
    assert_problems(
        "[database]\nport = 0",
        &["m.toml:2: database.port = 0: must be from 1 to 65535"],
    );
    assert_problems(
        "workers = 5",
        &[r#"m.toml:1: "workers" is a section: write [workers] on a line of its own"#],
    );
    let long = "ü".repeat(32);
    let toml = format!("[database]\nschema = '{long}'");
    assert!(Fixture::new(&toml).problems()[0].contains("is 64 bytes long"));
    Fixture::new(&format!("[database]\nschema = '{}x'", "ü".repeat(31))).config();
}

#[test]
fn files_and_directories_that_are_not_there_are_named() {
    for (toml, part) in [
        (
            "[log]\ntarget = 'file'\ndirectory = '/nowhere/log'",
            "m.toml:3: log.directory = \"/nowhere/log\": No such file",
        ),
        (
            "[log]\ntarget = 'file'\ndirectory = '/dev/null'",
            "is not a directory",
        ),
        (
            "[install]\ncustom_sql_dir = '/nowhere/sql'",
            "m.toml:2: install.custom_sql_dir",
        ),
        (
            "[database]\npassword_file = '/nowhere/pw'",
            "m.toml:2: database.password_file",
        ),
        (
            "[database]\nsslrootcert = '/nowhere/ca'",
            "m.toml:2: database.sslrootcert",
        ),
        ("[database]\nsslcert = '/dev/null'", "needed together"),
        (
            "[database]\noptions = '-B 5'",
            "m.toml:2: database.options: \"-B\" is not of the form",
        ),
        (
            "[database]\npassword = 'a'\npassword_file = '/dev/null'",
            "give one of them",
        ),
    ] {
        let problems = Fixture::new(toml).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(part), "{problems:?}");
    }
    Fixture::new("[database]\nsslrootcert = 'system'\n[log]\ndirectory = '/nowhere'").config();
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_one_line() {
    assert_problems(
        "[workers]\nmax = = 3\n",
        &["m.toml:2: not valid TOML: invalid string expected `\"`, `'`"],
    );
    let mut fixture = Fixture::new("");
    fixture.sources.file = Some(fixture.directory.path().join("none.toml"));
    assert_eq!(
        fixture.problems(),
        ["none.toml: cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let mut fixture = Fixture::new("[workers]\nmax = 9");
    let path = fixture.sources.file.take().unwrap();
    let fixture = fixture.env(&[("MVREFRESHD_CONFIG", path.to_str().unwrap())]);
    assert_eq!(fixture.config().workers.max, 9);
}

#[test]
fn variables_that_name_no_key_are_problems_and_kubernetes_own_are_not() {
    let fixture = Fixture::new("").env(&[
        ("MVREFRESHD_WORKERS_MAX", "3"),
        ("MVREFRESHD_LOG__LEVL", "debug"),
        ("MVREFRESHD_WORKERS__MAX", "x"),
        ("MVREFRESHD_PORT", "tcp://10.0.0.1:80"),
        ("MVREFRESHD_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("MVREFRESHD_SERVICE_HOST", "10.0.0.1"),
        ("MVREFRESHD_LOG__FORMAT", ""),
    ]);
    assert_eq!(
        fixture.problems(),
        [
            "environment variable MVREFRESHD_LOG__LEVL: names no key: did you mean \"MVREFRESHD_LOG__LEVEL\"?",
            "environment variable MVREFRESHD_WORKERS_MAX: names no key: did you mean \"MVREFRESHD_WORKERS__MAX\"?",
            "environment variable MVREFRESHD_WORKERS__MAX: workers.max = \"x\": must be a whole number that is not negative",
        ]
    );
}

#[test]
fn a_connection_string_fills_the_keys_of_the_database() {
    let config = Fixture::new(
        "[database]\nurl = 'postgres://ann:pw@db:6000/shop?sslmode=require&connect_timeout=3'\n",
    )
    .config();
    let database = &config.database;
    assert_eq!(database.url, None);
    assert_eq!(database.host.as_deref(), Some("db"));
    assert_eq!(database.port, 6000);
    assert_eq!(database.user.as_deref(), Some("ann"));
    assert_eq!(database.password, Some(Secret::new("pw")));
    assert_eq!(database.dbname.as_deref(), Some("shop"));
    assert_eq!(database.sslmode, SslMode::Require);
    assert_eq!(database.connect_timeout, Duration::from_secs(3));
}

#[test]
fn a_connection_string_and_keys_beside_it_complete_but_never_contradict_each_other() {
    let config =
        Fixture::new("[database]\nurl = 'host=db port=6000'\nport = 6000\nuser = 'ann'").config();
    assert_eq!(config.database.user.as_deref(), Some("ann"));
    assert_eq!(config.database.port, 6000);
    assert_problems(
        "[database]\nurl = 'host=db'\nhost = 'other'",
        &["m.toml:3: database.host contradicts database.url: give one of them"],
    );
}

#[test]
fn a_connection_string_from_above_never_takes_the_files_password_to_another_server() {
    let toml = "[database]\nhost = 'a'\nport = 1\nuser = 'ann'\ndbname = 'x'\npassword = 'pw'\nschema = 's'\n";
    let config = Fixture::new(toml)
        .env(&[("DATABASE_URL", "postgres://bob@b/y")])
        .config();
    assert_eq!(config.database.password, None);
    assert_eq!(config.database.port, 5432);
    assert_eq!(config.database.schema, "s");
    // Without a host it only changes what it names.
    let config = Fixture::new(toml)
        .env(&[("DATABASE_URL", "postgres:///y")])
        .config();
    assert_eq!(config.database.host.as_deref(), Some("a"));
    assert_eq!(config.database.password, Some(Secret::new("pw")));
    assert_eq!(config.database.dbname.as_deref(), Some("y"));
    // As with libpq, PG* fill what a connection string lacks.
    let config = Fixture::new(toml)
        .env(&[("PGPASSWORD", "pg"), ("PGPORT", "7")])
        .flag("--database-url", "database.url", "postgres://bob@b/y")
        .config();
    assert_eq!(config.database.password, Some(Secret::new("pg")));
    assert_eq!(config.database.port, 7);
}

#[test]
fn the_password_set_last_wins_whether_given_or_in_a_file() {
    let config = Fixture::new("[database]\npassword_file = '/dev/null'")
        .env(&[("PGPASSWORD", "x")])
        .config();
    assert_eq!(config.database.password_file, None);
    let config = Fixture::new("[database]\npassword = 'x'")
        .env(&[("MVREFRESHD_DATABASE__PASSWORD_FILE", "/dev/null")])
        .config();
    assert_eq!(config.database.password, None);
}

#[test]
fn problems_of_a_connection_string_name_its_source_and_show_no_password() {
    let fixture = Fixture::new("").env(&[
        ("DATABASE_URL", "postgres://ann:hunter2@h/d?sslmod=require"),
        ("PGSSLMODE", "requird"),
        ("PGSERVICE", "shop"),
        (
            "MVREFRESHD_DATABASE__URL",
            "postgres://ann:hunter2@h:port/d",
        ),
    ]);
    let problems = fixture.problems();
    assert_eq!(
        problems,
        [
            "environment variable PGSERVICE: service files are not supported: unset it and name host, port, user and database",
            "environment variable PGSSLMODE: database.sslmode = \"requird\": must be one of \"disable\", \"allow\", \"prefer\", \
             \"require\", \"verify-ca\", \"verify-full\": did you mean \"require\"?",
            "environment variable DATABASE_URL: database.url: unknown connection parameter \"sslmod\": did you mean \"sslmode\"?",
            "environment variable MVREFRESHD_DATABASE__URL: database.port = \"port\": must be a whole number from 1 to 65535",
        ]
    );
}

#[test]
fn the_effective_configuration_reads_back_the_same_and_shows_no_secret() {
    let fixture = Fixture::new(
        "[database]\npassword = 'hunter2'\nuser = 'a\"b\\\\c ü'\n[workers]\nmax = 7\n",
    )
    .env(&[("MVREFRESHD_LOG__LEVEL", "debug")]);
    let loaded = load(&fixture.sources).unwrap();
    let text = loaded.to_toml();
    assert!(
        !text.contains("hunter2") && text.contains("password = \"***\""),
        "{text}"
    );
    assert!(text.contains("m.toml:5\n"), "{text}");
    assert!(
        text.contains("level = \"debug\"  # environment variable MVREFRESHD_LOG__LEVEL"),
        "{text}"
    );
    let mut again = Fixture::new(&text).config();
    again.database.password = Some(Secret::new("hunter2"));
    assert_eq!(&again, loaded.first());
}

#[test]
fn differences_name_the_keys_that_changed() {
    let old = Config::default();
    let mut new = Config::default();
    assert_eq!(old.differences(&new), Vec::<String>::new());
    new.workers.max = 5;
    new.log.level = "debug".to_owned();
    assert_eq!(old.differences(&new), ["log.level", "workers.max"]);
    let mut newer = new.clone();
    new.database.password = Some(Secret::new("a"));
    newer.database.password = Some(Secret::new("b"));
    assert_eq!(new.differences(&newer), ["database.password"]);
}

#[test]
fn the_documented_file_names_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mvrefreshd.toml");
    let text = std::fs::read_to_string(path).unwrap();
    // As it is, it changes nothing.
    assert_eq!(Fixture::new(&text).config(), Fixture::new("").config());

    let mut section = String::new();
    let mut named = Vec::new();
    let mut with_defaults = String::new();
    let mut all = String::new();
    let no_default: BTreeSet<String> = keys::all(&Config::default())
        .into_iter()
        .filter(|(key, value)| {
            matches!(value, figment::value::Value::Empty(..)) && key != "workers.long_max"
        })
        .map(|(key, _)| key)
        .collect();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            with_defaults.extend([line, "\n"]);
            all.extend([line, "\n"]);
        }
        let Some(setting) = line
            .strip_prefix('#')
            .filter(|s| !s.is_empty() && !s.starts_with(' '))
        else {
            continue;
        };
        let key = format!("{section}.{}", setting.split(" = ").next().unwrap());
        all.extend([setting, "\n"]);
        if !no_default.contains(&key) {
            with_defaults.extend([setting, "\n"]);
        }
        named.push(key);
    }
    assert_eq!(
        Fixture::new(&with_defaults).config(),
        Fixture::new("").config()
    );
    let unique: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(unique.len(), named.len(), "{named:?}");
    assert_eq!(unique, keys::all(&Config::default()).into_keys().collect());
    // The examples are of the right kind, though their files don't exist and they contradict each other.
    for problem in Fixture::new(&all).problems() {
        assert!(
            ["No such file", "contradicts", "give one of them"]
                .iter()
                .any(|p| problem.contains(p)),
            "{problem}"
        );
    }
}

#[test]
fn several_hosts_are_a_text_or_a_list_and_come_from_libpqs_variables_too() {
    let host = |toml: &str, environment: &[(&str, &str)]| {
        let config = Fixture::new(toml).env(environment).config();
        (config.database.host, config.database.port)
    };
    let both = (Some("a:1,b".to_owned()), 5432);
    assert_eq!(host("[database]\nhost = 'a:1,b'", &[]), both);
    assert_eq!(host("[database]\nhost = ['a:1', 'b']", &[]), both);
    let expected = (Some("a:1,b:2".to_owned()), 5432);
    assert_eq!(host("", &[("PGHOST", "a,b"), ("PGPORT", "1,2")]), expected);
    assert_problems(
        "[database]\nhost = 'a:1,:2'",
        &["m.toml:2: database.host = \"a:1,:2\": between two commas a host is missing"],
    );
}
