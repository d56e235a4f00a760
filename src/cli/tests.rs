use clap::CommandFactory;

use super::*;
use crate::config::load;

fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
    let arguments = std::iter::once("mvrefreshd").chain(line.iter().copied());
    Cli::parse_from_args(arguments.map(OsString::from))
}

/// Of the command line alone, whatever is configured on this machine.
fn sources(cli: &Cli) -> Sources {
    let mut sources = cli.sources(Environment::default());
    sources.file = Some(PathBuf::from("/dev/null"));
    sources
}

#[track_caller]
fn refused(line: &[&str], part: &str) {
    let error = parse(line).unwrap_err();
    assert!(error.use_stderr(), "{line:?}");
    let text = error.to_string();
    assert!(text.contains(part), "no {part:?} in {text}");
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        let help = parse(&[command.get_name(), "--help"]).unwrap_err();
        assert!(!help.use_stderr(), "{}", command.get_name());
    }
}

#[test]
fn every_example_in_the_help_is_accepted() {
    let mut root = Cli::command();
    let mut examples = Vec::new();
    let helps = std::iter::once(root.render_help().to_string())
        .chain(
            root.clone()
                .get_subcommands_mut()
                .map(|c| c.render_help().to_string()),
        )
        .collect::<Vec<_>>();
    for help in helps {
        // Long examples are wrapped: a continuation is not indented like an example, so join all and split again.
        let Some((_, text)) = help.split_once("Examples:") else {
            continue;
        };
        let text = text
            .split("\n\n")
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        examples.extend(
            text.split("mvrefreshd ")
                .filter(|e| !e.trim().is_empty())
                .map(|e| e.trim().to_owned()),
        );
    }
    assert!(examples.len() >= 10, "{examples:?}");
    for example in examples {
        let words: Vec<String> = example
            .split('\'')
            .enumerate()
            .flat_map(|(n, part)| match n % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect(),
                _ => vec![part.to_owned()],
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Err(error) = parse(&words) {
            panic!("{words:?}: {error}");
        }
    }
}

#[test]
fn refresh_rates_are_whole_seconds_from_one_on() {
    for (text, seconds) in [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("90", 90),
        ("1", 1),
    ] {
        let cli = parse(&["create", "x", "--query", "q", "--every", text]).unwrap();
        let Command::Create(create) = cli.command else {
            panic!()
        };
        assert_eq!(create.schedule.every.unwrap().seconds(), seconds, "{text}");
    }
    for (text, part) in [
        ("0", "at least 1s"),
        ("500ms", "at least 1s"),
        ("1500ms", "whole number of seconds"),
        ("-5", "negative"),
        ("-5s", "negative"),
        ("often", "30s, 5m, 1h30m"),
        ("100y", "68 years"),
    ] {
        refused(&["create", "x", "--query", "q", "--every", text], part);
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    refused(&["create", "x"], "--query");
    refused(
        &["create", "x", "--query", "q", "--view", "v"],
        "cannot be used with",
    );
    refused(
        &[
            "create",
            "x",
            "--query",
            "q",
            "--every",
            "5",
            "--cron",
            "* * * * *",
        ],
        "cannot be used with",
    );
    refused(
        &["create", "x", "--query", "q", "--time-zone", "UTC"],
        "--cron",
    );
    refused(
        &["create", "x", "--query", "q", "--method", "quick"],
        "possible values: auto, fast, complete",
    );
    refused(&["refresh"], "--all");
    refused(&["refresh", "x", "--all"], "cannot be used with");
    refused(&["verify"], "--all");
    refused(&["explain"], "--query");
    refused(&["alter", "x"], "--every");
    refused(
        &["alter", "x", "--enable", "--disable"],
        "cannot be used with",
    );
    refused(
        &["alter", "x", "--every", "5", "--no-schedule"],
        "cannot be used with",
    );
    refused(&["adopt", "--all"], "--every");
    refused(&["history", "--limit", "0"], "0");
    refused(&["demo", "--seconds", "0"], "0");
    refused(&["frobnicate"], "frobnicate");
    refused(&[], "Usage");
}

#[test]
fn global_options_stand_before_or_after_the_command_and_reach_the_configuration() {
    for line in [
        [
            "--schema",
            "S x",
            "--database-url",
            "postgres://ann:pw@h:1/d",
            "--log-level",
            "debug",
            "status",
        ],
        [
            "status",
            "--schema",
            "S x",
            "--database-url",
            "postgres://ann:pw@h:1/d",
            "--log-level",
            "debug",
        ],
    ] {
        let cli = parse(&line).unwrap();
        assert!(!format!("{cli:?}").contains("pw"), "{cli:?}");
        let config = load(&sources(&cli)).unwrap().only().unwrap();
        assert_eq!(config.database.schema, "S x");
        assert_eq!(config.database.host.as_deref(), Some("h"));
        assert_eq!(config.database.port, 1);
        assert_eq!(config.log.level, "debug");
        assert!(config.install.on_start);
    }
    let cli = parse(&["run", "--no-install"]).unwrap();
    assert!(
        !load(&sources(&cli))
            .unwrap()
            .only()
            .unwrap()
            .install
            .on_start
    );
}

#[test]
fn a_wrong_value_of_an_option_is_blamed_on_the_option() {
    let cli = parse(&["status", "--log-level", "loud", "--database-url", "db1"]).unwrap();
    let problems = load(&sources(&cli)).unwrap_err().to_string();
    assert!(
        problems.contains("option --log-level: log.level = \"loud\""),
        "{problems}"
    );
    assert!(
        problems.contains("option --database-url: database.url: not a connection string"),
        "{problems}"
    );
}
