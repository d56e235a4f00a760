//! One host or several: `database.host` names them with commas in between, each with a port of its own if need be.

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};

/// Reads a text, or a list of texts as one with commas; the empty text says the same as leaving it out.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    struct Hosts;
    impl<'de> Visitor<'de> for Hosts {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<String, A::Error> {
            let mut hosts: Vec<String> = Vec::new();
            while let Some(host) = list.next_element()? {
                hosts.push(host);
            }
            Ok(hosts.join(","))
        }
    }
    let text = deserializer.deserialize_any(Hosts)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The hosts of `database.host` with their ports, where `port` is that of those that name none: `db1,db2:5433`,
/// `[::1]:5433`, `/run/a:5433,/run/b`. A directory that stands alone is taken as it is.
pub fn parse(text: &str, port: u16) -> Result<Vec<(String, u16)>, String> {
    if text.starts_with('/') && !text.contains(',') {
        return Ok(vec![(text.to_owned(), port)]);
    }
    text.split(',').map(|host| one(host.trim(), port)).collect()
}

fn one(text: &str, port: u16) -> Result<(String, u16), String> {
    let (host, own_port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or_else(|| "an IPv6 address that begins with [ ends with ]".to_owned())?;
        let own_port = after.strip_prefix(':');
        if own_port.is_none() && !after.is_empty() {
            return Err("only :port may follow the ] of an IPv6 address".to_owned());
        }
        (address, own_port)
    } else if text.starts_with('/') {
        match text.rsplit_once(':') {
            Some((directory, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                (directory, Some(digits))
            }
            _ => (text, None),
        }
    } else {
        match text.split_once(':') {
            // more of them: an IPv6 address without a port
            Some((host, own_port)) if !own_port.contains(':') => (host, Some(own_port)),
            _ => (text, None),
        }
    };
    if host.is_empty() {
        return Err("between two commas a host is missing".to_owned());
    }
    match own_port {
        None => Ok((host.to_owned(), port)),
        Some(own) => match own.parse() {
            Ok(own) if own > 0 => Ok((host.to_owned(), own)),
            _ => Err(format!("the port {own:?} must be a number from 1 to 65535")),
        },
    }
}

/// What `host` and `port` of libpq come to, each of which may be a list, as in `host=a,b port=1,2`: the hosts, and the port
/// for all if there is one.
pub(super) fn joined(host: &str, port: &str) -> Result<(String, Option<String>), String> {
    if !port.contains(',') {
        return Ok((
            host.to_owned(),
            Some(port.to_owned()).filter(|port| !port.is_empty()),
        ));
    }
    let hosts: Vec<&str> = host.split(',').collect();
    let ports: Vec<&str> = port.split(',').collect();
    if hosts.len() != ports.len() {
        let (hosts, ports) = (hosts.len(), ports.len());
        return Err(format!("{ports} ports are given for {hosts} hosts"));
    }
    let joined = hosts.iter().zip(ports).map(|(host, port)| {
        let is_ipv6 = host.contains(':') && !host.starts_with(['[', '/']);
        match (port, is_ipv6) {
            ("", _) => (*host).to_owned(),
            (port, true) => format!("[{host}]:{port}"),
            (port, false) => format!("{host}:{port}"),
        }
    });
    Ok((joined.collect::<Vec<_>>().join(","), None))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_host_may_have_a_port_of_its_own() {
        let parsed = |text| parse(text, 5432).unwrap();
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(parsed("db"), [host("db", 5432)]);
        assert_eq!(
            parsed("db1, db2:6000"),
            [host("db1", 5432), host("db2", 6000)]
        );
        assert_eq!(
            parsed("::1,[::2]:6000,[::3]"),
            [host("::1", 5432), host("::2", 6000), host("::3", 5432)]
        );
        assert_eq!(parsed("/run/a:1"), [host("/run/a:1", 5432)]);
        assert_eq!(
            parsed("/run/a:1,/run/b"),
            [host("/run/a", 1), host("/run/b", 5432)]
        );
        for wrong in ["a,,b", "a:x,b", "[::1", "[::1]x", "a:0", ":5"] {
            assert!(parse(wrong, 5432).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_hosts_and_ports_belong_together_in_order() {
        assert_eq!(joined("a,b", "1,2"), Ok(("a:1,b:2".to_owned(), None)));
        assert_eq!(joined("a,::1", "1,2"), Ok(("a:1,[::1]:2".to_owned(), None)));
        assert_eq!(
            joined("a,b", "7"),
            Ok(("a,b".to_owned(), Some("7".to_owned())))
        );
        assert_eq!(joined("a,b", ""), Ok(("a,b".to_owned(), None)));
        assert_eq!(joined("a,b", "1,"), Ok(("a:1,b".to_owned(), None)));
        assert!(joined("a,b", "1,2,3").is_err());
    }
}
