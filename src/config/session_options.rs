//! The `options` connection parameter: server settings for a session, as on a server's command line.

/// Reads `-c name=value` and `--name=value`, separated by blanks; a backslash takes the next character literally.
/// Gives the settings in their order.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (None, Some("")) => words.next().unwrap_or_default(),
            (Some(setting), _) | (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err(format!("{word:?} is not of the form -c name=value")),
        };
        match setting.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()));
            }
            _ => return Err(format!("{setting:?} is not of the form name=value")),
        }
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => word.extend(characters.next()),
            c if c.is_whitespace() => words.extend(take(&mut word)),
            c => word.push(c),
        }
    }
    words.extend(take(&mut word));
    words
}

fn take(word: &mut String) -> Option<String> {
    Some(std::mem::take(word)).filter(|word| !word.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_of_writing_a_setting() {
        let settings =
            parse(r"-c geqo=off  -cwork_mem=64MB --statement-timeout=5min -c a.b=x\ y").unwrap();
        let expected = [
            ("geqo", "off"),
            ("work_mem", "64MB"),
            ("statement_timeout", "5min"),
            ("a.b", "x y"),
        ];
        assert_eq!(
            settings,
            expected.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        assert_eq!(parse("  "), Ok(vec![]));
    }

    #[test]
    fn refuses_other_options_of_the_server() {
        for text in ["-B 100", "geqo=off", "-c geqo", "-c", "-c =x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
