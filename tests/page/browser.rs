//! A headless browser, driven over its `DevTools` protocol: JSON messages, each ended by a zero byte, on two pipes.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long anything that must happen may take before the test fails: far longer than it ever should.
const LIMIT: Duration = Duration::from_secs(60);

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page; killed when dropped.
pub(crate) struct Browser {
    _process: Child,
    _profile: TempDir,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: String,
    last_id: u64,
    /// What the page has asked for, and complained about.
    pub(crate) requests: Vec<String>,
    pub(crate) complaints: Vec<String>,
}

impl Browser {
    /// None, with a line that says so, where there is no browser: never in continuous integration, see scripts/setup.sh.
    pub(crate) async fn start(width: u32, height: u32) -> Option<Self> {
        let Some(program) = PROGRAMS.iter().find(|program| is_there(program)) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no browser: scripts/setup.sh tests"
            );
            eprintln!(
                "NOT TESTED: the status page, as there is no browser here ({PROGRAMS:?}): scripts/setup.sh tests"
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The browser reads questions from its file 3 and writes answers to its file 4.
        let script = "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1";
        let mut process = Command::new("/bin/sh")
            .args(["-c", script, "sh", program])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
                "--no-first-run",
            ])
            .arg("--disable-background-networking")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},{height}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut browser = Self {
            questions: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            _process: process,
            _profile: profile,
            session: String::new(),
            last_id: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
        };
        let target = browser
            .ask("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", attach).await;
        attached["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        for domain in [
            "Page.enable",
            "Runtime.enable",
            "Network.enable",
            "Log.enable",
        ] {
            browser.ask(domain, json!({})).await;
        }
        Some(browser)
    }

    /// Asks the browser for something, and takes note of what it tells meanwhile.
    pub(crate) async fn ask(&mut self, method: &str, parameters: Value) -> Value {
        match self.try_to_ask(method, parameters).await {
            Ok(result) => result,
            Err(refusal) => panic!("{method}: {refusal}"),
        }
    }

    async fn try_to_ask(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.last_id += 1;
        let mut question = json!({"id": self.last_id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            question["sessionId"] = json!(self.session);
        }
        let mut message = question.to_string().into_bytes();
        message.push(0);
        self.questions.write_all(&message).await.unwrap();
        loop {
            let mut answer = Vec::new();
            let reading = self.answers.read_until(0, &mut answer);
            timeout(LIMIT, reading)
                .await
                .expect("the browser answers")
                .unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser has gone");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.last_id {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.to_string()),
                };
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap();
                self.requests.push(url.to_owned());
            }
            Some("Runtime.exceptionThrown") => {
                self.complaints
                    .push(parameters["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url })).await;
    }

    /// What an expression of the page's comes to.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        match self.evaluate(expression).await {
            Ok(value) => value,
            Err(reason) => panic!("{expression}: {reason}"),
        }
    }

    async fn evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let question =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.try_to_ask("Runtime.evaluate", question).await?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            details => Err(details.to_string()),
        }
    }

    /// Waits until an expression of the page's is true. That it can't be told is no failure: while the page goes from one
    /// address to another there is no document, or one without its elements.
    pub(crate) async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.evaluate(&format!("Boolean({expression})")).await;
            if answer == Ok(json!(true)) {
                return;
            }
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText").await;
                panic!(
                    "still not so: {expression}: {answer:?}\n{}\n{:#?}",
                    text.as_str().unwrap_or_default(),
                    self.complaints
                );
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// Presses a key as a person would; a single character is also typed.
    pub(crate) async fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 {
            key
        } else if key == "Enter" {
            "\r"
        } else {
            ""
        };
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            _ => 0,
        };
        let down = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        let event = |kind: &str, text: &str| json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
        self.ask("Input.dispatchKeyEvent", event(down, text)).await;
        self.ask("Input.dispatchKeyEvent", event("keyUp", "")).await;
    }

    pub(crate) async fn type_text(&mut self, text: &str) {
        for character in text.chars() {
            self.press(&character.to_string()).await;
        }
    }

    /// Chooses `light` or `dark`.
    pub(crate) async fn prefer(&mut self, scheme: &str) {
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", feature).await;
    }
}

fn is_there(program: &str) -> bool {
    let found = std::process::Command::new("/bin/sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .output();
    found.is_ok_and(|output| output.status.success())
}
