//! The files for containers and monitoring say what is so: names, ports, paths and metrics are the program's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use mvrefreshd::cli::Cli;
use mvrefreshd::config::HttpConfig;
use mvrefreshd::server::metrics::{self, Kind};
use serde_json::Value;

const DOCKERFILE: &str = include_str!("../Dockerfile");
const OPERATIONS: &str = include_str!("../docs/operations.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

fn port() -> u64 {
    u64::from(HttpConfig::default().address().unwrap().unwrap().port())
}

/// The words of an instruction in exec form.
fn words(instruction: &str) -> Vec<String> {
    let line = DOCKERFILE
        .lines()
        .rev()
        .find(|line| line.starts_with(instruction))
        .unwrap();
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_image_runs_the_daemon_as_nobody_and_asks_it_how_it_is() {
    assert!(!DOCKERFILE.contains("# syntax"));
    let command = [words("ENTRYPOINT"), words("CMD")].concat();
    assert_eq!(command[0], "/usr/bin/mvrefreshd");
    Cli::parse_from_args(command.iter().map(Into::into)).unwrap();
    Cli::parse_from_args(words("HEALTHCHECK").iter().map(Into::into)).unwrap();
    let user = DOCKERFILE
        .lines()
        .find_map(|line| line.strip_prefix("USER "))
        .unwrap();
    assert!(
        user.split(':').all(|id| id.parse::<u32>().unwrap() > 0),
        "{user}"
    );
    assert!(DOCKERFILE.contains(&format!("EXPOSE {}", port())));
    assert!(DOCKERFILE.contains(&format!("MVREFRESHD_HTTP__LISTEN=0.0.0.0:{}", port())));
    assert!(DOCKERFILE.contains("MVREFRESHD_LOG__FORMAT=json"));
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    for copied in DOCKERFILE
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
    {
        let mut sources: Vec<&str> = copied.split(' ').skip(1).collect();
        sources.pop();
        for source in sources {
            assert!(root().join(source).exists(), "{copied}");
            assert!(
                ignored.contains(&format!("!{source}\n")),
                "{source} is ignored"
            );
        }
    }
}

#[test]
fn compose_needs_nothing_but_the_databases_url() {
    let compose = &yaml("compose.yaml")[0];
    let daemon = &compose["services"]["mvrefreshd"];
    let variables: Vec<&String> = daemon["environment"].as_object().unwrap().keys().collect();
    assert_eq!(variables, ["DATABASE_URL"]);
    assert_eq!(daemon["read_only"], true);
    let published = daemon["ports"][0].as_str().unwrap();
    assert!(published.ends_with(&format!(":{}", port())), "{published}");
}

#[test]
fn kubernetes_asks_the_loop_whether_it_is_alive_and_the_database_whether_it_is_ready() {
    let [deployment, service] = &yaml("kubernetes/mvrefreshd.yaml")[..] else {
        panic!("two documents");
    };
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["ports"][0]["containerPort"], port());
    assert_eq!(service["spec"]["ports"][0]["port"], port());
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(DOCKERFILE.contains(&format!("USER {user}:")));
    let variables = container["env"].as_array().unwrap();
    assert_eq!(variables.len(), 1, "{variables:?}");
    assert_eq!(variables[0]["name"], "DATABASE_URL");
}

/// Runs a validator, wherever it is; none, with a line that says so, where there is none.
fn validator(program: &str, arguments: &[&str]) {
    let fetched = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("../validators/bin")
        .join(program);
    let program = if fetched.exists() {
        fetched
    } else {
        program.into()
    };
    let mut command = Command::new(&program);
    match command.args(arguments).current_dir(root()).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}");
        }
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "{}: {error}",
                program.display()
            );
            eprintln!(
                "NOT TESTED: {arguments:?}, as there is no {} here (scripts/fetch-validators.sh)",
                program.display()
            );
        }
    }
}

#[test]
fn the_compose_file_is_by_the_specification() {
    validator(
        "check-jsonschema",
        &["--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    );
}

#[test]
fn the_kubernetes_manifest_is_by_the_specification() {
    validator(
        "kubernetes-validate",
        &["--strict", "kubernetes/mvrefreshd.yaml"],
    );
}

/// Every series name that a page of metrics can have.
fn series() -> BTreeSet<String> {
    let of = |metric: &metrics::Metric| {
        let suffixes: &[&str] = match metric.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge => &[""],
        };
        let name = metric.name;
        suffixes
            .iter()
            .map(move |suffix| format!("{name}{suffix}"))
            .collect::<Vec<_>>()
    };
    metrics::ALL.iter().flat_map(of).collect()
}

/// The names of ours in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("mvrefreshd_"))
        .map(str::to_owned)
        .collect()
}

/// The values that an expression compares a label with.
fn values(expression: &str, label: &str) -> Vec<String> {
    let start = format!("{label}=\"");
    let parts = expression.split(&start).skip(1);
    parts
        .map(|part| part.split('"').next().unwrap().to_owned())
        .collect()
}

fn assert_known(expression: &str) {
    let unknown: Vec<String> = names(expression).difference(&series()).cloned().collect();
    assert_eq!(unknown, [""; 0], "in {expression}");
    for outcome in values(expression, "outcome") {
        assert!(
            metrics::outcomes().contains(&outcome.as_str()),
            "{outcome} in {expression}"
        );
    }
}

#[test]
fn alerts_watch_metrics_that_are_exported() {
    let alerts = &yaml("monitoring/alerts.yaml")[0];
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10);
    for rule in rules {
        let expression = rule["expr"].as_str().unwrap();
        assert_known(expression);
        assert!(
            !names(expression).is_empty() || expression.starts_with("up{"),
            "{expression}"
        );
    }
}

/// The text below a heading of the operations guide, up to the next one.
fn section(heading: &str) -> Option<&'static str> {
    let rest = OPERATIONS.split(&format!("\n{heading}\n")).nth(1)?;
    Some(rest.split("\n#").next().unwrap())
}

#[test]
fn every_alert_has_a_section_that_says_what_it_means_and_what_to_do() {
    let alerts = &yaml("monitoring/alerts.yaml")[0];
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let names: BTreeSet<&str> = rules
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap())
        .collect();
    for name in &names {
        let text = section(&format!("### {name}")).unwrap_or_else(|| panic!("no section: {name}"));
        for part in ["*Meaning.* ", "*What to do.* "] {
            let told = text.split(part).nth(1).and_then(|told| told.lines().next());
            assert!(told.is_some_and(|told| told.len() > 5), "{name}: {part}");
        }
    }
    let explained: BTreeSet<&str> = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|name| name.starts_with("Mvrefreshd"))
        .collect();
    assert_eq!(explained, names);
}

#[test]
fn the_operations_guide_links_to_sections_that_there_are() {
    let anchors: BTreeSet<String> = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| {
            let kept = title.to_lowercase().replace(' ', "-");
            kept.chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect()
        })
        .collect();
    let linked: BTreeSet<String> = OPERATIONS
        .split("](#")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect();
    assert_eq!(linked, anchors);
}

#[test]
fn the_dashboard_shows_metrics_that_are_exported() {
    let text = std::fs::read_to_string(root().join("monitoring/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<&str> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(expressions.len() >= panels.len());
    for expression in expressions {
        assert_known(expression);
        assert!(!names(expression).is_empty(), "{expression}");
    }
    let variable = dashboard["templating"]["list"][1]["query"]
        .as_str()
        .unwrap();
    assert_known(variable);
}

#[test]
fn metrics_are_named_by_the_conventions() {
    for metric in metrics::ALL {
        let name = metric.name;
        assert_eq!(
            metric.kind == Kind::Counter,
            name.ends_with("_total"),
            "{name}"
        );
        assert!(
            metric.kind != Kind::Histogram || name.ends_with("_seconds"),
            "{name}"
        );
        assert!(!name.ends_with("_ms") && !name.contains("milli"), "{name}");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
    }
    let unique: BTreeSet<&str> = metrics::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(unique.len(), metrics::ALL.len());
}
