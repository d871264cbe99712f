//! Requests to a hub, which is not trusted: it may answer anything.
//!
//! * A redirect is followed a few times, and never from https to http.
//! * The user's token goes to the hub's own address alone.
//! * Of an answer only its status, `Location`, `Content-Range` and bytes are looked
//!   at. Nothing of it becomes a path.
//! * Whatever is waited for has an end, and so has an answer that comes byte by byte.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::{Error, Hub, Result};

/// Redirects that are followed, one after the other.
const REDIRECTS: usize = 5;
/// Bytes in a second, at least, while a file comes.
const SLOWEST: f64 = 1024.0;
/// Times the hub's patience that an answer which is no file may take.
const LONGEST_ANSWER: u32 = 10;

/// A hub's address, and what it knows the user by.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    patience: Duration,
}

impl Client {
    /// A client of the hub, whose agent `agent` makes of the configuration.
    pub(super) fn new(hub: &Hub, agent: impl FnOnce(Config) -> Agent) -> Result<Self> {
        let endpoint = hub.endpoint.trim_end_matches('/').to_owned();
        if origin(&endpoint).is_none() {
            let expected = "an address that begins with https:// or http://";
            return Err(Error::config("HF_ENDPOINT", expected, endpoint));
        }
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(hub.patience))
            .timeout_recv_response(Some(hub.patience))
            .timeout_per_read(Some(hub.patience));
        Ok(Client {
            agent: agent(config.build()),
            endpoint,
            token: hub.token.clone(),
            patience: hub.patience,
        })
    }

    /// The address of the hub.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The answer to a request for `path` (which begins with a slash) from byte `from`
    /// on, if that is said; of status 200 or 206.
    ///
    /// # Errors
    /// One sentence about `what`, if there is no such answer.
    pub(super) fn get(&self, what: &str, path: &str, from: Option<u64>) -> Result<Response<Body>> {
        let mut address = format!("{}{path}", self.endpoint);
        for _ in 0..=REDIRECTS {
            let answer = self.request(&address, from);
            let answer = answer.map_err(|error| self.unreachable(what, &error))?;
            if !answer.status().is_redirection() {
                return match answer.status() {
                    StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
                    status => Err(self.refused(what, status)),
                };
            }
            let location = answer.headers().get("location");
            let location = location.and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| resolve(&address, location));
            let Some(next) = next else {
                let problem = format!(
                    "{} answers with a redirect to no address that can be followed",
                    self.endpoint
                );
                return Err(Error::fetch(what, problem));
            };
            address = next;
        }
        let problem = format!(
            "{} answers with more than {REDIRECTS} redirects",
            self.endpoint
        );
        Err(Error::fetch(what, problem))
    }

    fn request(
        &self,
        address: &str,
        from: Option<u64>,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(address);
        let own = origin(address) == origin(&self.endpoint);
        if let Some(token) = self.token.as_ref().filter(|_| own) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(from) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call()
    }

    /// The whole answer, of at most `most` bytes.
    pub(super) fn get_all(&self, what: &str, path: &str, most: u64) -> Result<Vec<u8>> {
        let answer = self.get(what, path, None)?;
        let mut bytes = Vec::new();
        let whole = Some(self.patience * LONGEST_ANSWER);
        let mut reader = self.paced(answer, whole).take(most + 1);
        let read = reader.read_to_end(&mut bytes);
        read.map_err(|error| self.unreachable(what, &error.into()))?;
        if bytes.len() as u64 > most {
            let problem = format!("expected an answer of at most {most} bytes, found more");
            return Err(Error::fetch(what, problem));
        }
        Ok(bytes)
    }

    /// The bytes of an answer, which must come at some pace, and within `whole` if that is
    /// said.
    pub(super) fn paced(&self, answer: Response<Body>, whole: Option<Duration>) -> impl Read {
        let now = Instant::now();
        Paced {
            bytes: answer.into_body().into_reader(),
            patience: self.patience,
            end: whole.map(|whole| now + whole),
            since: now,
            news: 0,
        }
    }

    fn refused(&self, what: &str, status: StatusCode) -> Error {
        let endpoint = &self.endpoint;
        let problem = match status.as_u16() {
            404 => format!("there is nothing of that name on {endpoint}"),
            status @ (401 | 403) => format!(
                "{endpoint} refuses it (status {status}): it does not exist, or is private or \
                 gated; set HF_TOKEN to a token that may read it"
            ),
            status => format!("{endpoint} answers with status {status}; try again later"),
        };
        Error::fetch(what, problem)
    }

    pub(super) fn unreachable(&self, what: &str, error: &ureq::Error) -> Error {
        let problem = format!(
            "{} cannot be reached ({error}); without a network, copy the model's folder here by \
             other means and name that folder, or run `cargo xtask fetch`",
            self.endpoint
        );
        Error::fetch(what, problem)
    }
}

/// Bytes that must come in every stretch of time, or the connection is given up: who
/// sends one now and then would be waited for without end.
struct Paced<R> {
    bytes: R,
    /// The stretch.
    patience: Duration,
    /// When there must be no more, if that is said.
    end: Option<Instant>,
    /// When the stretch began.
    since: Instant,
    /// Bytes that have come in it.
    news: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.bytes.read(buffer)?;
        self.news += bytes as u64;
        let now = Instant::now();
        let passed = now - self.since;
        if bytes == 0 || (passed < self.patience && self.end.is_none_or(|end| now < end)) {
            return Ok(bytes);
        }
        let least = (SLOWEST * passed.as_secs_f64()) as u64;
        let late = self.end.is_some_and(|end| now >= end);
        if late || self.news < least {
            let text = format!(
                "its answer comes too slowly: {} bytes in {passed:.0?}",
                self.news
            );
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        (self.since, self.news) = (now, 0);
        Ok(bytes)
    }
}

/// Scheme, host and port of an address; none if it is of another scheme.
fn origin(address: &str) -> Option<&str> {
    let scheme = ["https://", "http://"]
        .iter()
        .find(|scheme| address.starts_with(**scheme))?
        .len();
    let host = address[scheme..].find(['/', '?', '#', '\\']);
    let end = host.map_or(address.len(), |host| scheme + host);
    (end > scheme).then(|| &address[..end])
}

/// Where a redirect leads; none if that is not to be followed.
fn resolve(address: &str, location: &str) -> Option<String> {
    let here = origin(address)?;
    let secure = here.starts_with("https://");
    let next = if location.contains("://") && !location.starts_with('/') {
        location.to_owned()
    } else if let Some(host) = location.strip_prefix("//") {
        let scheme = if secure { "https" } else { "http" };
        format!("{scheme}://{host}")
    } else if location.starts_with('/') {
        format!("{here}{location}")
    } else {
        let path = address.split(['?', '#']).next()?;
        let folder = path.rfind('/').filter(|end| *end >= here.len());
        format!("{}/{location}", &path[..folder.unwrap_or(here.len())])
    };
    let there = origin(&next)?;
    (!secure || there.starts_with("https://")).then_some(next)
}

/// A text as a part of an address; slashes stay if `path`.
pub(super) fn encoded(text: &str, path: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into());
            }
            b'/' if path => out.push('/'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_is_another_origin() {
        let own = origin("https://hub.example/a/b?c").unwrap();
        assert_eq!(own, "https://hub.example");
        for other in [
            "http://hub.example/a",
            "https://hub.example:444/a",
            "https://hub.example@other.example/a",
            "https://hub.example.other.example",
            "https://hub.example\\.other.example",
            "https://other.example/https://hub.example",
        ] {
            assert_ne!(
                origin(other),
                Some(own).filter(|_| !other.contains('\\')),
                "{other}"
            );
        }
        for none in ["file:///etc/passwd", "https://", "hub.example", "ftp://x"] {
            assert_eq!(origin(none), None, "{none}");
        }
    }

    #[test]
    fn redirects_stay_safe() {
        let from = "https://hub.example/a/b?c=/d";
        let to = |location| resolve(from, location);
        assert_eq!(to("/x").unwrap(), "https://hub.example/x");
        assert_eq!(to("x").unwrap(), "https://hub.example/a/x");
        assert_eq!(to("//y/x").unwrap(), "https://y/x");
        assert_eq!(to("https://y/x").unwrap(), "https://y/x");
        for bad in ["http://hub.example/x", "file:///x", "ftp://x/y"] {
            assert_eq!(to(bad), None, "{bad}");
        }
        let open = resolve("http://hub.example", "x");
        assert_eq!(open.unwrap(), "http://hub.example/x");
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(encoded("a b/../c%\n", true), "a%20b/../c%25%0A");
        assert_eq!(encoded("refs/pr/1", false), "refs%2Fpr%2F1");
    }
}
