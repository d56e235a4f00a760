use super::*;

fn config() -> DatabaseConfig {
    DatabaseConfig {
        host: Some("/run/my sock".to_owned()),
        port: 6000,
        user: Some("ann&lee".to_owned()),
        dbname: Some("a/b c".to_owned()),
        ..DatabaseConfig::default()
    }
}

fn resolve(config: &DatabaseConfig) -> ConnectionSettings {
    ConnectionSettings::resolve(config, &Environment::default())
}

#[test]
fn every_part_reaches_sqlx_whatever_characters_it_has() {
    let settings = resolve(&config());
    let options = settings.options("worker").unwrap();
    assert_eq!(options.get_socket(), Some(&PathBuf::from("/run/my sock")));
    assert_eq!(options.get_port(), 6000);
    assert_eq!(options.get_username(), "ann&lee");
    assert_eq!(options.get_database(), Some("a/b c"));
    assert_eq!(options.get_application_name(), Some("mvrefreshd worker"));
}

#[test]
fn a_host_over_tcp_keeps_its_name_for_the_certificate() {
    let mut config = config();
    config.host = Some("db.example".to_owned());
    config.sslmode = SslMode::VerifyFull;
    let options = resolve(&config).options("x").unwrap();
    assert_eq!(options.get_host(), "db.example");
    assert!(options.get_socket().is_none());
    assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
}

#[test]
fn the_description_names_user_database_and_server_and_no_secret() {
    let mut config = config();
    config.password = Some(Secret::new("hunter2"));
    let settings = resolve(&config);
    assert_eq!(
        settings.to_string(),
        "user ann&lee, database a/b c, server /run/my sock:6000"
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
    config.host = Some("::1".to_owned());
    assert_eq!(resolve(&config).server(), "[::1]:6000");
}

#[test]
fn session_settings_are_sent_with_blanks_and_backslashes_escaped() {
    let settings = resolve(&config()).with_session_setting("search_path", r#""my \schema""#);
    let options = settings.options("x").unwrap();
    assert!(
        options
            .get_options()
            .unwrap()
            .ends_with(r#"-c search_path="my\ \\schema""#)
    );
}

#[test]
fn the_password_is_the_first_line_of_its_file_read_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let mut config = config();
    config.password_file = Some(file.clone());
    let settings = resolve(&config);
    let error = settings.options("x").unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    std::fs::write(&file, "").unwrap();
    assert!(
        settings
            .options("x")
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
    std::fs::write(&file, "first\n").unwrap();
    assert_eq!(settings.read_password(&file).unwrap().expose(), "first");
    std::fs::write(&file, "second\r\n").unwrap();
    assert_eq!(settings.read_password(&file).unwrap().expose(), "second");
}

#[test]
fn a_systemd_credential_serves_as_password_file_unless_another_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let credential = directory.path().join("database-password");
    let environment: Environment = [("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())]
        .into_iter()
        .collect();
    let password =
        |config: &DatabaseConfig| ConnectionSettings::resolve(config, &environment).password;
    assert!(matches!(password(&config()), Password::PassFile));
    std::fs::write(&credential, "secret").unwrap();
    assert!(matches!(password(&config()), Password::File(f) if f == credential));
    let own = directory.path().join("database-password.shop");
    std::fs::write(&own, "another").unwrap();
    assert!(matches!(password(&config()), Password::File(f) if f == credential));
    let mut config = config();
    config.name = Some("shop".to_owned());
    assert!(matches!(password(&config), Password::File(f) if f == own));
    config.password_file = Some(PathBuf::from("/other"));
    assert!(matches!(password(&config), Password::File(f) if f == Path::new("/other")));
    config.password = Some(Secret::new("x"));
    assert!(matches!(password(&config), Password::Given(_)));
}
