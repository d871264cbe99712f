//! Fetching from a hub, played by a small server on this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ggpo::fetch::{Hub, sha256_of_file};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of the repository `a/b`, and what was asked for.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// Contents that are sent instead of those announced.
    damaged: BTreeMap<&'static str, Vec<u8>>,
    /// Needed to read, if set.
    token: Option<&'static str>,
    requests: Vec<String>,
}

/// A server that answers as a hub does, until the test ends.
struct Server {
    address: String,
    shelf: Arc<Mutex<Shelf>>,
    downloads: tempfile::TempDir,
}

impl Server {
    fn new(files: &[(&'static str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Arc::new(Mutex::new(Shelf {
            files: files.iter().map(|(name, b)| (*name, b.to_vec())).collect(),
            ..Shelf::default()
        }));
        let (shared, own) = (Arc::clone(&shelf), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answered = stream.and_then(|stream| answer(stream, &own, &shared));
                // The client may leave early.
                let _ = answered;
            }
        });
        Server {
            address,
            shelf,
            downloads: tempfile::tempdir().unwrap(),
        }
    }

    fn hub(&self) -> Hub {
        Hub {
            endpoint: self.address.clone(),
            token: None,
            cache: self.downloads.path().join("hub"),
            progress: false,
            patience: std::time::Duration::from_secs(60),
        }
    }

    fn requests(&self, part: &str) -> usize {
        let shelf = self.shelf.lock().unwrap();
        shelf.requests.iter().filter(|r| r.contains(part)).count()
    }
}

/// Large files lie elsewhere and are announced with their sha256.
fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

fn answer(mut stream: TcpStream, own: &str, shelf: &Mutex<Shelf>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let path = request.split(' ').nth(1).unwrap_or("").to_owned();
    let mut shelf = shelf.lock().unwrap();
    shelf.requests.push(path.clone());
    let bearer = shelf.token.map(|token| format!("Bearer {token}"));
    if bearer.is_some() && bearer.as_ref() != headers.get("authorization") {
        return write!(
            stream,
            "HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let resolve = format!("/a/b/resolve/{COMMIT}/");
    if path.starts_with("/api/models/a/b/revision/main?") {
        return send(&mut stream, "200 OK", "", &listing(&shelf));
    }
    if let Some(name) = path.strip_prefix(&resolve)
        && let Some((name, bytes)) = shelf.files.get_key_value(name)
    {
        let etag = etag(name, bytes);
        if is_large(name) {
            let headers = format!(
                "X-Linked-ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nLocation: {own}/store/{name}\r\n"
            );
            return send(&mut stream, "302 Found", &headers, b"");
        }
        let etag = format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n");
        return send_range(&mut stream, &headers["range"], &etag, bytes);
    }
    if let Some(name) = path.strip_prefix("/store/")
        && let Some(bytes) = shelf.damaged.get(name).or(shelf.files.get(name))
    {
        return send_range(&mut stream, &headers["range"], "", bytes);
    }
    send(&mut stream, "404 Not Found", "", b"")
}

fn etag(name: &str, bytes: &[u8]) -> String {
    if is_large(name) {
        return sha256(bytes);
    }
    format!("{}-{}", name.replace('.', "-"), bytes.len())
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    sha256_of_file(file.path()).unwrap()
}

fn listing(shelf: &Shelf) -> Vec<u8> {
    let file = |(name, bytes): (&&str, &Vec<u8>)| {
        let mut file = serde_json::json!({ "rfilename": name, "size": bytes.len() });
        if is_large(name) {
            file["lfs"] = serde_json::json!({ "sha256": sha256(bytes), "size": bytes.len() });
        }
        file
    };
    let siblings: Vec<_> = shelf.files.iter().map(file).collect();
    serde_json::to_vec(&serde_json::json!({ "sha": COMMIT, "siblings": siblings })).unwrap()
}

/// The part that `bytes=FIRST-LAST` or `bytes=FIRST-` asks for.
fn send_range(
    stream: &mut TcpStream,
    range: &str,
    headers: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse().map_or(bytes.len(), |last: usize| last + 1);
    let whole = bytes.len();
    let headers = format!(
        "{headers}Content-Range: bytes {first}-{}/{whole}\r\n",
        last - 1
    );
    send(stream, "206 Partial Content", &headers, &bytes[first..last])
}

fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const MODEL: [(&str, &[u8]); 5] = [
    ("README.md", b"about"),
    ("config.json", b"{\"model_type\": \"bert\"}"),
    ("model.safetensors", b"weights"),
    ("pytorch_model.bin", b"old weights"),
    ("tokenizer.json", b"{}"),
];

#[test]
fn a_model_arrives_as_one_folder() {
    let server = Server::new(&MODEL);
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("models/b");
    let fetched = server.hub().fetch("a/b", None, None, &to).unwrap();
    assert_eq!(fetched.commit, COMMIT);
    assert_eq!(
        names(&to),
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    assert_eq!(fetched.bytes, 22 + 7 + 2);
    assert_eq!(
        std::fs::read(to.join("model.safetensors")).unwrap(),
        b"weights"
    );

    // What is there already is not downloaded again.
    let again = place.path().join("again");
    server.hub().fetch("a/b", None, None, &again).unwrap();
    assert_eq!(names(&again), names(&to));
    assert_eq!(server.requests("/store/model.safetensors"), 1);
    let error = server.hub().fetch("a/b", None, None, &to).unwrap_err();
    assert!(
        error.to_string().contains("expected no such folder yet"),
        "{error}"
    );
}

#[test]
fn weights_in_parts_arrive_with_their_index() {
    let index = br#"{"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}"#;
    let server = Server::new(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
    ]);
    let to = server.downloads.path().join("model");
    server.hub().fetch("a/b", None, None, &to).unwrap();
    let expected = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(names(&to), expected);
}

#[test]
fn one_gguf_file_is_fetched_alone() {
    let server = Server::new(&[("x/model.Q4_0.gguf", b"GGUF"), ("config.json", b"{}")]);
    let to = server.downloads.path().join("model");
    let name = Some("x/model.Q4_0.gguf");
    server.hub().fetch("a/b", None, name, &to).unwrap();
    assert_eq!(names(&to), ["model.Q4_0.gguf"]);
}

#[test]
fn a_download_that_was_cut_off_goes_on() {
    let server = Server::new(&MODEL);
    let hub = server.hub();
    let blobs = hub.cache.join("models--a--b/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(sha256(b"weights") + ".part"), b"wei").unwrap();
    let to = server.downloads.path().join("model");
    hub.fetch("a/b", None, None, &to).unwrap();
    assert_eq!(
        std::fs::read(to.join("model.safetensors")).unwrap(),
        b"weights"
    );
}

#[test]
fn damaged_weights_are_refused_and_fetched_anew() {
    let server = Server::new(&MODEL);
    let to = server.downloads.path().join("model");
    let damage = |shelf: &mut Shelf| {
        shelf
            .damaged
            .insert("model.safetensors", b"WEIGHTS".to_vec())
    };
    damage(&mut server.shelf.lock().unwrap());
    let error = server
        .hub()
        .fetch("a/b", None, None, &to)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model.safetensors: expected sha256"),
        "{error}"
    );
    assert!(!to.exists());

    server.shelf.lock().unwrap().damaged.clear();
    server.hub().fetch("a/b", None, None, &to).unwrap();
    assert_eq!(
        std::fs::read(to.join("model.safetensors")).unwrap(),
        b"weights"
    );
}

#[test]
fn a_token_opens_what_is_private() {
    let server = Server::new(&MODEL);
    server.shelf.lock().unwrap().token = Some("secret");
    let to = server.downloads.path().join("model");
    let mut hub = server.hub();
    for token in [None, Some("wrong")] {
        hub.token = token.map(str::to_owned);
        let error = hub.fetch("a/b", None, None, &to).unwrap_err().to_string();
        assert!(error.starts_with("a/b at main: "), "{error}");
        assert!(
            error.contains("(status 401)") && error.contains("HF_TOKEN"),
            "{error}"
        );
        assert!(!error.contains("wrong"), "{error}");
    }
    hub.token = Some("secret".to_owned());
    hub.fetch("a/b", None, None, &to).unwrap();
}

#[test]
fn what_cannot_be_fetched_is_one_sentence() {
    let server = Server::new(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")]);
    let to = server.downloads.path().join("model");
    let mut hub = server.hub();
    let mut refused = |repo: &str, revision, endpoint: &str, wanted: &str| {
        hub.endpoint = endpoint.to_owned();
        let error = hub
            .fetch(repo, revision, None, &to)
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted) && !error.contains('\n'), "{error}");
        assert!(!to.exists());
    };
    let here = server.address.as_str();
    refused("a/b", None, here, "found pytorch_model.bin");
    refused(
        "a/c",
        None,
        here,
        "a/c at main: there is nothing of that name",
    );
    refused(
        "a/b",
        Some("v9"),
        here,
        "a/b at v9: there is nothing of that name",
    );
    refused(
        "a b",
        None,
        here,
        "repository: expected a name like owner/model",
    );
    refused(
        "a/b",
        None,
        "huggingface.co",
        "HF_ENDPOINT: expected an address",
    );
    // Nobody listens on a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    refused("a/b", None, &format!("http://{free}"), "cannot be reached");
}
