//! Connection strings: `postgres://…` URLs and libpq's keyword strings (`host=… dbname=…`).
//!
//! sqlx reads neither keyword strings nor `postgres://user@/db?host=/dir`, and only warns of parameters it doesn't
//! know, so they are read here, as documented in "Connection Strings" of the `PostgreSQL` manual's chapter on libpq.

use super::hosts;
use super::suggest::{closest, did_you_mean};

/// Parameters that are also keys of `[database]`.
const KEYS: [&str; 12] = [
    "host",
    "port",
    "user",
    "dbname",
    "password",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
    "application_name",
    "connect_timeout",
];

/// Parameters of libpq that change nothing for us: hints for its own transport and authentication.
const IGNORED: [&str; 13] = [
    "channel_binding",
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
    "tcp_user_timeout",
];

/// Parameters of libpq whose absence here could surprise, so that they are refused rather than ignored.
const UNSUPPORTED: [&str; 11] = [
    "gssdelegation",
    "load_balance_hosts",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcrl",
    "sslpassword",
];

/// A connection string taken apart.
#[derive(Default)]
pub(super) struct ConnectionString {
    /// Keys of `[database]` with their values; each key once.
    pub(super) parameters: Vec<(&'static str, String)>,
    /// Names of parameters that are understood but change nothing.
    pub(super) ignored: Vec<String>,
}

/// Takes a connection string apart. Errors are sentences without any part of the string that could hold a password.
pub(super) fn parse(text: &str) -> Result<ConnectionString, String> {
    let text = text.trim();
    let pairs = if let Some(rest) = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
    {
        url_pairs(rest)?
    } else if let Some((scheme, _)) = text
        .split_once("://")
        .filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        return Err(format!(
            "a connection URL starts with postgres:// or postgresql://, not with {scheme}://"
        ));
    } else if text.contains('=') {
        keyword_pairs(text)?
    } else {
        return Err(
            "not a connection string: write postgres://user@host:port/database, or host=… dbname=… user=…"
                .to_owned(),
        );
    };
    collect(pairs)
}

fn collect(pairs: Vec<(String, String)>) -> Result<ConnectionString, String> {
    let mut result = ConnectionString::default();
    let mut hostaddr = None;
    for (name, value) in pairs {
        if name == "hostaddr" {
            hostaddr = Some(value);
        } else if name == "target_session_attrs" {
            if !matches!(value.as_str(), "any" | "read-write" | "primary") {
                return Err(format!(
                    "target_session_attrs={value} won't do: a server that can be written to is needed"
                ));
            }
            result.ignored.push(name);
        } else if let Some(key) = KEYS.into_iter().find(|key| *key == name) {
            set(&mut result.parameters, key, value);
        } else if IGNORED.contains(&name.as_str()) {
            result.ignored.push(name);
        } else if UNSUPPORTED.contains(&name.as_str()) {
            return Err(format!("connection parameter {name:?} is not supported"));
        } else {
            return Err(format!(
                "unknown connection parameter {name:?}{}",
                did_you_mean(closest(&name, KEYS))
            ));
        }
    }
    // libpq uses hostaddr to save the look-up of host, whose name it still verifies.
    if let Some(address) = hostaddr
        && !result.parameters.iter().any(|(key, _)| *key == "host")
    {
        result.parameters.push(("host", address));
    }
    join_hosts(&mut result.parameters)?;
    Ok(result)
}

/// Gives each of several hosts its own port.
fn join_hosts(parameters: &mut Vec<(&'static str, String)>) -> Result<(), String> {
    let given = |wanted| {
        let mut parameters = parameters.iter();
        let found = parameters.find(|(key, _)| *key == wanted);
        found.map_or(String::new(), |(_, value)| value.clone())
    };
    let (hosts, port) = hosts::joined(&given("host"), &given("port"))?;
    set(parameters, "host", hosts);
    set(parameters, "port", port.unwrap_or_default());
    Ok(())
}

/// As in libpq the last mention wins, and an empty value is as good as none.
fn set(parameters: &mut Vec<(&'static str, String)>, key: &'static str, value: String) {
    parameters.retain(|(known, _)| *known != key);
    if !value.is_empty() {
        parameters.push((key, value));
    }
}

/// The part of a URL after its scheme: `[user[:password]@][host[:port]][/dbname][?name=value[&…]]`.
fn url_pairs(rest: &str) -> Result<Vec<(String, String)>, String> {
    let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = front.split_once('/').unwrap_or((front, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = host_and_port(place)?;
    let mut pairs = Vec::new();
    for (name, value) in [
        ("user", user),
        ("password", password),
        ("host", host),
        ("port", port),
        ("dbname", dbname),
    ] {
        if !value.is_empty() {
            pairs.push((name.to_owned(), percent_decode(value, name)?));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!(
                "connection parameter {pair:?} has no value: write {pair}=…"
            ));
        };
        let name = percent_decode(name, "parameter name")?;
        let value = percent_decode(value, &name)?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn host_and_port(place: &str) -> Result<(&str, &str), String> {
    if place.contains(',') {
        // each with its own port
        return Ok((place, ""));
    }
    if let Some(rest) = place.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return Err("an IPv6 address in a URL ends with ]".to_owned());
        };
        return match port.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if port.is_empty() => Ok((address, "")),
            None => Err("only :port may follow the ] of an IPv6 address".to_owned()),
        };
    }
    let (host, port) = place.split_once(':').unwrap_or((place, ""));
    if port.contains(':') {
        return Err(
            "an IPv6 address in a URL is written in brackets, as in postgres://[::1]:5432/db"
                .to_owned(),
        );
    }
    Ok((host, port))
}

/// `what` names the part in messages; the part itself may be a password.
fn percent_decode(text: &str, what: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "the {what} in the URL is not percent-encoded correctly: write % as %25, @ as %40, / as %2F"
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(wrong());
        };
        match u8::try_from(high * 16 + low) {
            Ok(0) | Err(_) => return Err(wrong()),
            Ok(byte) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// `name = value` pairs; a value may stand in single quotes, a backslash takes the next character literally.
fn keyword_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // The word itself may be part of a password with a blank in it.
            return Err(match pairs.last() {
                Some((last, _)) => format!(
                    "\"=\" is missing after {last}=…: a value with blanks stands in single quotes"
                ),
                None => "\"=\" is missing after the first word".to_owned(),
            });
        };
        if name.is_empty() {
            return Err("a name is missing before \"=\"".to_owned());
        }
        let (value, after) = keyword_value(after.trim_start(), name)?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

fn keyword_value<'a>(text: &'a str, name: &str) -> Result<(String, &'a str), String> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |b| (true, b));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(format!("the quote that opens after {name}= is not closed"));
    }
    Ok((value, ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
