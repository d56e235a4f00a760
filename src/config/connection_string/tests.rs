use super::*;

#[track_caller]
fn same(text: &str, expected: &[(&str, &str)]) {
    let mut parsed = parse(text)
        .map_err(|e| format!("{text}: {e}"))
        .unwrap()
        .parameters;
    parsed.sort();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(k, v)| (*k, (*v).to_owned()))
        .collect();
    expected.sort();
    assert_eq!(parsed, expected, "{text}");
}

#[test]
fn reads_urls() {
    same("postgres://", &[]);
    same("postgresql:///shop", &[("dbname", "shop")]);
    same(
        "postgres://ann:s%40cret%2F1@db.example:6432/shop?sslmode=verify-full&connect_timeout=3",
        &[
            ("user", "ann"),
            ("password", "s@cret/1"),
            ("host", "db.example"),
            ("port", "6432"),
            ("dbname", "shop"),
            ("sslmode", "verify-full"),
            ("connect_timeout", "3"),
        ],
    );
    same(
        "postgres://ann@/shop?host=/run/sock&port=6000",
        &[
            ("user", "ann"),
            ("dbname", "shop"),
            ("host", "/run/sock"),
            ("port", "6000"),
        ],
    );
    same(
        "postgres://%2Frun%2Fsock/a%20b",
        &[("host", "/run/sock"), ("dbname", "a b")],
    );
    same(
        "postgres://[::1]:5433/x",
        &[("host", "::1"), ("port", "5433"), ("dbname", "x")],
    );
    same("postgres://[fe80::1]", &[("host", "fe80::1")]);
    same(
        "postgres://u:a:b@h",
        &[("user", "u"), ("password", "a:b"), ("host", "h")],
    );
    same(
        "postgres://u:p@ss@h",
        &[("user", "u"), ("password", "p@ss"), ("host", "h")],
    );
}

#[test]
fn reads_keyword_strings() {
    same(
        r"host=/tmp dbname = x user=y password='a b\'c\\d' port='6000'",
        &[
            ("host", "/tmp"),
            ("dbname", "x"),
            ("user", "y"),
            ("password", r"a b'c\d"),
            ("port", "6000"),
        ],
    );
    same(r"password=a\ b dbname=''", &[("password", "a b")]);
    same(
        "hostaddr=10.0.0.1 dbname=x",
        &[("host", "10.0.0.1"), ("dbname", "x")],
    );
    same("host=db hostaddr=10.0.0.1", &[("host", "db")]);
    same("user=a user=b", &[("user", "b")]);
}

#[test]
fn several_hosts_each_have_their_port() {
    let expected = [("host", "a:1,b:2"), ("dbname", "d")];
    same("postgres://a:1,b:2/d", &expected);
    same("host=a,b port=1,2 dbname=d", &expected);
    same("postgres:///d?host=a,b&port=1,2", &expected);
    same("host=a,b port=7", &[("host", "a,b"), ("port", "7")]);
    same("postgres://[::1]:1,b", &[("host", "[::1]:1,b")]);
    same(
        "host=/run/a,/run/b port=1,2",
        &[("host", "/run/a:1,/run/b:2")],
    );
}

#[test]
fn takes_the_parameters_that_hosting_providers_add() {
    let parsed = parse(
        "postgres://u@h/d?sslmode=require&channel_binding=require&target_session_attrs=read-write",
    )
    .map_err(|e| panic!("{e}"))
    .unwrap();
    assert_eq!(parsed.ignored, ["channel_binding", "target_session_attrs"]);
}

#[test]
fn says_what_is_wrong_without_showing_the_string() {
    for (text, part) in [
        (
            "postgres://u:hunter2@h/d?sslmod=require",
            r#"unknown connection parameter "sslmod": did you mean "sslmode"?"#,
        ),
        (
            "postgres://u:hunter2@h/d?ssl-mode=require",
            r#"did you mean "sslmode"?"#,
        ),
        (
            "postgres://u:hunter2@h/d?colour=red",
            r#"unknown connection parameter "colour""#,
        ),
        ("postgres://u:hunter2@h/d?sslmode", "has no value"),
        (
            "postgres://u:hunter2%@h/d",
            "the password in the URL is not percent-encoded",
        ),
        (
            "postgres://u:hunter2%00@h/d",
            "the password in the URL is not percent-encoded",
        ),
        (
            "password=hunter2 host=a,b port=1,2,3",
            "3 ports are given for 2 hosts",
        ),
        ("postgres://u:hunter2@::1/d", "in brackets"),
        ("postgres://u:hunter2@[::1/d", "ends with ]"),
        ("mysql://u:hunter2@h/d", "not with mysql://"),
        ("hunter2", "not a connection string"),
        (
            "password=a hunter2 host=x",
            "\"=\" is missing after password=…",
        ),
        ("host=x password='hunter2", "not closed"),
        ("=hunter2", "a name is missing"),
        ("service=hunter2", "not supported"),
        ("host=h target_session_attrs=standby", "can be written to"),
    ] {
        let error = parse(text)
            .err()
            .unwrap_or_else(|| panic!("{text} was accepted"));
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
}
