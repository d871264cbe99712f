//! Fetching from a hub that is broken or means harm: one sentence, nothing written
//! outside, no token given away.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ggpo::fetch::Hub;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A path, with the `Authorization` that came along.
type Asked = (String, Option<String>);

/// A server that answers every request as a test says, and what it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn new(answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Ok(clone) = stream.try_clone() else {
                    continue;
                };
                let lines: Vec<String> = BufReader::new(clone)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let Some(request) = lines.first() else {
                    continue;
                };
                let path = request.split(' ').nth(1).unwrap_or("").to_owned();
                let token = lines.iter().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("authorization")
                        .then(|| value.to_owned())
                });
                shared.lock().unwrap().push((path.clone(), token));
                // The client may leave early.
                let _ = answer(&path, &mut stream);
            }
        });
        Server { address, asked }
    }
}

fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

/// A repository of two files, the second with more said of it.
fn listing(more: &str) -> Vec<u8> {
    format!(
        r#"{{"sha": "{COMMIT}", "siblings": [
            {{"rfilename": "config.json", "size": 2}},
            {{"rfilename": "model.safetensors"{more}}}]}}"#
    )
    .into_bytes()
}

/// A place to fetch to, with a file beside it that must stay.
struct Place {
    folder: tempfile::TempDir,
    victim: PathBuf,
    patience: Duration,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let patience = Duration::from_secs(60);
        Place {
            folder,
            victim,
            patience,
        }
    }

    /// Fetches from the server, and returns the sentence if that fails.
    fn fetch(&self, server: &Server) -> Option<String> {
        let hub = Hub {
            endpoint: server.address.clone(),
            token: Some("secret".to_owned()),
            cache: self.folder.path().join("cache/hub"),
            progress: false,
            patience: self.patience,
        };
        let to = self.folder.path().join("model");
        let fetched = hub.fetch("a/b", None, None, &to);
        assert_eq!(std::fs::read(&self.victim).unwrap(), b"precious");
        let mut names: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected: &[&str] = match fetched.is_ok() {
            true => &["cache", "model", "victim"],
            false => &["cache", "victim"],
        };
        assert!(
            names.iter().all(|name| expected.contains(&name.as_str())),
            "{names:?}"
        );
        let sentence = fetched.err()?.to_string();
        assert!(!sentence.contains("secret"), "{sentence}");
        Some(sentence)
    }
}

#[test]
fn headers_become_no_paths() {
    let place = Place::new();
    let victim = place.victim.display().to_string();
    for etag in [victim.as_str(), "../../../../victim"] {
        let etag = etag.to_owned();
        let server = Server::new(move |path, stream| {
            if path.starts_with("/api/") {
                return send(stream, "200 OK", "", &listing(", \"size\": 7"));
            }
            let headers =
                format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {etag}\r\nX-Linked-ETag: {etag}\r\n");
            let body: &[u8] = if path.ends_with("config.json") {
                b"{}"
            } else {
                b"weights"
            };
            send(stream, "200 OK", &headers, body)
        });
        assert_eq!(place.fetch(&server), None);
        std::fs::remove_dir_all(place.folder.path().join("model")).unwrap();
        std::fs::remove_dir_all(place.folder.path().join("cache")).unwrap();
    }
}

#[test]
fn listed_names_stay_inside() {
    for (name, sha256) in [
        ("../../victim", "0"),
        ("/etc/passwd", "0"),
        ("model.safetensors", "../../../victim"),
    ] {
        let body = format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "{name}", "size": 1,
                "lfs": {{"sha256": "{sha256}"}}}}]}}"#
        );
        let server = Server::new(move |_, stream| send(stream, "200 OK", "", body.as_bytes()));
        let sentence = Place::new().fetch(&server).unwrap();
        assert!(sentence.contains("in the hub's answer"), "{sentence}");
    }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let store = Server::new(|_, stream| send(stream, "200 OK", "", b"weights"));
    let there = store.address.clone();
    let hub = Server::new(move |path, stream| match path {
        path if path.starts_with("/api/") => send(stream, "200 OK", "", &listing(", \"size\": 7")),
        path if path.ends_with("config.json") => send(stream, "200 OK", "", b"{}"),
        _ => {
            let location = format!("Location: {there}/weights\r\n");
            send(stream, "302 Found", &location, b"")
        }
    });
    assert_eq!(Place::new().fetch(&hub), None);
    let asked = hub.asked.lock().unwrap();
    let with_token = asked
        .iter()
        .filter(|(_, token)| token.as_deref() == Some("Bearer secret"));
    assert_eq!(with_token.count(), 3, "{asked:?}");
    let elsewhere = store.asked.lock().unwrap();
    assert_eq!(*elsewhere, [("/weights".to_owned(), None)]);
}

#[test]
fn redirects_that_lead_nowhere_are_refused() {
    for headers in [
        "",
        "Location: file:///etc/passwd\r\n",
        "Location: /again\r\n",
        "Location: \r\n",
    ] {
        let server = Server::new(move |_, stream| send(stream, "302 Found", headers, b""));
        let sentence = Place::new().fetch(&server).unwrap();
        assert!(sentence.contains("redirect"), "{headers}: {sentence}");
    }
}

#[test]
fn answers_without_end_are_cut_off() {
    let endless = |stream: &mut TcpStream| -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 1 << 16])?;
        }
    };
    let server = Server::new(move |path, stream| match path {
        path if path.starts_with("/api/") => send(stream, "200 OK", "", &listing(", \"size\": 7")),
        _ => endless(stream),
    });
    let place = Place::new();
    let sentence = place.fetch(&server).unwrap();
    assert!(sentence.contains("expected at most 2 bytes"), "{sentence}");
    // Nothing of it is kept.
    let blobs = place.folder.path().join("cache/hub/models--a--b/blobs");
    let kept: u64 = std::fs::read_dir(blobs)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(kept, 0);
    let server = Server::new(move |_, stream| endless(stream));
    let sentence = Place::new().fetch(&server).unwrap();
    assert!(sentence.contains("at most"), "{sentence}");
}

#[test]
fn answers_that_are_no_listings_are_one_sentence() {
    for body in [
        "",
        "[]",
        "{\"sha\": 3}",
        "<html>",
        "\u{1b}[2J",
        r#"{"sha": "ab", "sha": "cd", "siblings": []}"#,
    ] {
        let server = Server::new(move |_, stream| send(stream, "200 OK", "", body.as_bytes()));
        let sentence = Place::new().fetch(&server).unwrap();
        assert!(sentence.contains("unexpected answer"), "{body}: {sentence}");
    }
    for status in ["500 Broken", "429 Slow", "204 No Content", "99 What"] {
        let server = Server::new(move |_, stream| send(stream, status, "", b""));
        Place::new().fetch(&server).unwrap();
    }
}

#[test]
fn every_checksum_is_held_against_the_contents() {
    // Git's of "{}", and of something else.
    for (id, right) in [
        ("9e26dfeeb6e641a33dae4961196235bdb965b21b", true),
        ("8e26dfeeb6e641a33dae4961196235bdb965b21b", false),
    ] {
        let more = format!(", \"size\": 2, \"blobId\": \"{id}\"");
        let server = Server::new(move |path, stream| match path {
            path if path.starts_with("/api/") => send(stream, "200 OK", "", &listing(&more)),
            _ => send(stream, "200 OK", "", b"{}"),
        });
        let sentence = Place::new().fetch(&server);
        match sentence {
            None => assert!(right),
            Some(sentence) => {
                assert!(!right && sentence.contains("git checksum"), "{sentence}");
            }
        }
    }
}

/// A folder of downloads that somebody prepared with links.
#[cfg(unix)]
#[test]
fn links_among_the_downloads_are_not_followed() {
    let place = Place::new();
    let name = "9e26dfeeb6e641a33dae4961196235bdb965b21b";
    let blobs = place.folder.path().join("cache/hub/models--a--b/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::os::unix::fs::symlink(&place.victim, blobs.join(name)).unwrap();
    let more = format!(", \"size\": 2, \"blobId\": \"{name}\"");
    let server = Server::new(move |path, stream| match path {
        path if path.starts_with("/api/") => send(stream, "200 OK", "", &listing(&more)),
        _ => send(stream, "200 OK", "", b"{}"),
    });
    assert_eq!(place.fetch(&server), None);
}

/// A byte now and then, for ever: of a file, and of what is said of the repository.
#[test]
fn answers_that_do_not_end_in_time_are_given_up() {
    let drip = |stream: &mut TcpStream| -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(b" ")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for all in [false, true] {
        let server = Server::new(move |path, stream| match path {
            path if path.starts_with("/api/") && !all => send(stream, "200 OK", "", &listing("")),
            path if path.ends_with("config.json") => send(stream, "200 OK", "", b"{}"),
            _ => drip(stream),
        });
        // The size is not told, so that it could be reached.
        let mut place = Place::new();
        place.patience = Duration::from_millis(200);
        let begin = Instant::now();
        let sentence = place.fetch(&server).unwrap();
        assert!(sentence.contains("too slowly"), "{sentence}");
        assert!(begin.elapsed() < Duration::from_secs(60), "{sentence}");
    }
    // One that says nothing at all.
    let server = Server::new(|_, _| {
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    let mut place = Place::new();
    place.patience = Duration::from_millis(200);
    let sentence = place.fetch(&server).unwrap();
    assert!(sentence.contains("cannot be reached"), "{sentence}");
}
