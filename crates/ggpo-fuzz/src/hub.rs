//! A hub that answers anything: `ggpo fetch` on what somebody else's server sends.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ggpo::fetch::Hub;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error};

use crate::World;
use crate::world::{joined, split};

const ENDPOINT: &str = "http://hub.example";
const TOKEN: &str = "the-user's-token";

/// Answers of a server, one for each connection; then connections are refused.
type Answers = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// Connections that are no more than memory.
#[derive(Debug)]
struct Played(Answers);

impl Connector for Played {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, Error> {
        let answer = self.0.lock().expect("no panic while locked").pop_front();
        let answer = answer.ok_or(Error::HostNotFound)?;
        let config = details.config;
        Ok(Some(Connection {
            to_hub: details
                .uri
                .authority()
                .is_some_and(|it| it.as_str() == "hub.example")
                && details.uri.scheme_str() == Some("http"),
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            answer,
            sent: 0,
        }))
    }
}

#[derive(Debug)]
struct Connection {
    to_hub: bool,
    buffers: LazyBuffers,
    answer: Vec<u8>,
    sent: usize,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let request = String::from_utf8_lossy(&self.buffers.output()[..amount]).into_owned();
        assert!(
            self.to_hub || !request.contains(TOKEN),
            "the token goes to the hub alone: {request}"
        );
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let rest = &self.answer[self.sent..];
        let room = self.buffers.input_append_buf();
        let amount = rest.len().min(room.len());
        room[..amount].copy_from_slice(&rest[..amount]);
        self.buffers.input_appended(amount);
        self.sent += amount;
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        // So that an address with https is played too.
        true
    }
}

/// Every name is found.
#[derive(Debug)]
struct Anywhere;

impl Resolver for Anywhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([192, 0, 2, 1], 80)));
        Ok(addresses)
    }
}

/// Fetches from a server whose answers are the pieces of the input.
pub(crate) fn hub(world: &World, bytes: &[u8]) {
    let mut answers = VecDeque::new();
    let mut rest = bytes;
    while rest.len() > 2 && answers.len() < 16 {
        let (answer, after) = split(rest);
        answers.push_back(answer.to_vec());
        rest = after;
    }
    let around = world.path("fetched");
    let _ = fs::remove_dir_all(&around);
    let victim = world.write("fetched/victim", b"precious");
    let hub = Hub {
        endpoint: ENDPOINT.to_owned(),
        token: Some(TOKEN.to_owned()),
        cache: around.join("cache/hub"),
        progress: false,
        patience: Duration::from_secs(5),
    };
    let to = around.join("model");
    let played = Played(Arc::new(Mutex::new(answers)));
    let agent = |config| Agent::with_parts(config, played, Anywhere);
    let fetched = hub.fetch_with(agent, "a/b", None, None, &to);
    match &fetched {
        Ok(fetched) => assert!(fetched.files.iter().all(|name| to.join(name).is_file())),
        Err(error) => {
            assert!(!error.to_string().contains(TOKEN), "{error}");
            assert!(!to.exists(), "{error}");
        }
    }
    assert_eq!(fs::read(victim).expect("is there"), b"precious");
    let entries = fs::read_dir(&around).expect("is there");
    for entry in entries {
        let name = entry.expect("an entry").file_name();
        let known = ["cache", "model", "victim"];
        assert!(known.iter().any(|known| name == *known), "{name:?}");
    }
    let above = around.parent().expect("a folder");
    let strange = ["a", "b", "blobs", "config.json", "model.safetensors"];
    assert!(strange.iter().all(|name| !above.join(name).exists()));
}

/// An answer as a hub gives it.
fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

pub(crate) fn hub_seeds(_: &World) -> Vec<Vec<u8>> {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    // Of the bytes "abc".
    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let listing = |files: &str| {
        let body = format!(r#"{{"sha": "{COMMIT}", "siblings": [{files}]}}"#);
        answer("200 OK", "", &body)
    };
    let plain =
        listing(r#"{"rfilename": "config.json", "size": 2}, {"rfilename": "model.safetensors"}"#);
    let known = listing(&format!(
        r#"{{"rfilename": "config.json", "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b"}},
        {{"rfilename": "model.safetensors", "size": 3, "lfs": {{"sha256": "{SHA256}"}}}}"#
    ));
    let parts = listing(
        r#"{"rfilename": "config.json"}, {"rfilename": "model.safetensors.index.json"},
        {"rfilename": "x.safetensors"}, {"rfilename": "vocab.txt", "size": 0}"#,
    );
    let index = r#"{"weight_map": {"a": "x.safetensors"}}"#;
    let config = || answer("200 OK", "ETag: \"../../victim\"\r\n", "{}");
    let away = answer("302 Found", "Location: http://store.example/x?y#z\r\n", "");
    let near = answer("307 Moved", "Location: ../x\r\n", "");
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na".to_vec();
    let on = answer("206 Partial", "Content-Range: bytes 1-2/3\r\n", "bc");
    let chunks =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
    let whole = |answers: &[Vec<u8>]| {
        let pieces = answers.iter().map(|answer| joined(answer, &[]));
        pieces.collect::<Vec<_>>().concat()
    };
    vec![
        whole(&[plain.clone(), config(), answer("200 OK", "", "abc")]),
        whole(&[near, known.clone(), config(), away, cut, on]),
        whole(&[known, config(), chunks.to_vec()]),
        whole(&[
            parts,
            answer("200 OK", "", index),
            config(),
            answer("200 OK", "", "abc"),
        ]),
        whole(&[plain, answer("404 No", "", ""), answer("200 OK", "", "")]),
    ]
}
