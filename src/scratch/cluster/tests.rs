use super::{Options, percent_encoded, quoted_for_shell, settings_text};

#[test]
fn settings_are_quoted_and_the_callers_come_last() {
    let settings = vec![
        ("shared_buffers".into(), "1MB".into()),
        ("application_name".into(), "it's".into()),
    ];
    let text = settings_text(&Options {
        settings,
        ..Options::default()
    });
    assert!(text.contains("fsync = 'off'\n"));
    assert!(
        text.ends_with(
            "max_connections = '100'\nshared_buffers = '1MB'\napplication_name = 'it''s'\n"
        ),
        "{text}"
    );
    assert!(
        !settings_text(&Options {
            durable: true,
            ..Options::default()
        })
        .contains("fsync")
    );
}

#[test]
fn names_of_any_characters_survive_in_urls_and_commands() {
    assert_eq!(percent_encoded("a b/ü?"), "a%20b%2F%C3%BC%3F");
    assert_eq!(quoted_for_shell("--host=/tmp/x-1"), "--host=/tmp/x-1");
    assert_eq!(quoted_for_shell("it's"), r"'it'\''s'");
    assert_eq!(quoted_for_shell(""), "''");
}
