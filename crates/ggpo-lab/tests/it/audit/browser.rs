//! The page in a browser: it checks itself, can be walked through, and shows red where a
//! digit is changed.

use std::io::Write;
use std::path::{Path, PathBuf};

use ggpo_lab::audit::browser;
use ggpo_tensor::random::{Purpose, Stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{larger_audit, tiny_audit};

/// Whether there is a browser. Where there is none, that is said past the capture of the
/// test's output, so that nobody takes the test for one that was run.
fn found(test: &str) -> Option<PathBuf> {
    let browser = browser::find();
    if browser.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}, because there is no chromium on the PATH; \
             GGPO_CHROMIUM names another"
        );
    }
    browser
}

/// The page as a browser has it after its scripts.
fn rendered(browser: &Path, page: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("page.html");
    std::fs::write(&path, page).expect("a page");
    let profile = folder.path().join("profile");
    let mut command = browser::command(browser, &path, &profile, (1280, 900));
    let output = command.arg("--dump-dom").output();
    let output = output.expect("a browser that starts");
    let dom = String::from_utf8(output.stdout).expect("a page of text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        dom.contains("</html>"),
        "the browser gave no page: {errors}"
    );
    dom
}

/// When the driver begins.
const AFTER: &str = "document.addEventListener(\"checked\", () => { ";

/// What the driver sees in the page, shown at this width, after `call`.
fn driven(browser: &Path, page: &str, width: u32, call: &str) -> Value {
    let script = concat!("<script>", include_str!("driver.js"));
    let page = page.replace(
        "</body>",
        &format!("{script}\n{AFTER}{call}; }});</script>\n</body>"),
    );
    // A window cannot be as narrow as a telephone; a frame can.
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    let frame = format!("width: {width}px; height: 800px; border: 0");
    let outer = format!(
        "<!DOCTYPE html><html><body><iframe style=\"{frame}\" srcdoc=\"{page}\"></iframe></body></html>"
    );
    let dom = rendered(browser, &outer);
    let (_, seen) = dom
        .split_once("<pre id=\"driver\">")
        .expect("the driver's report");
    let (seen, _) = seen.split_once("</pre>").expect("its end");
    serde_json::from_str(seen).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

/// An attribute of the root element.
fn attribute(dom: &str, name: &str) -> u64 {
    let (_, rest) = dom
        .split_once(&format!("data-{name}=\""))
        .expect("the attribute");
    let (value, _) = rest.split_once('"').expect("its end");
    value.parse().expect("a number")
}

/// A digit of the numbers of a page that is replaced by another.
fn digits(page: &str, count: u64, seed: u64) -> Vec<(usize, char)> {
    let numbers = numbers(page);
    let places: Vec<usize> = numbers
        .bytes()
        .enumerate()
        .filter_map(|(place, byte)| byte.is_ascii_digit().then_some(place))
        .collect();
    let stream = Stream::new(seed, Purpose::Data, 0, 0);
    let one = |draw: u64| {
        let place = places[stream.below(2 * draw, places.len() as u64) as usize];
        let old = numbers.as_bytes()[place] - b'0';
        let new = (old + 1 + stream.below(2 * draw + 1, 9) as u8) % 10;
        (place, char::from(b'0' + new))
    };
    (0..count).map(one).collect()
}

/// The text of the numbers of a page.
fn numbers(page: &str) -> &str {
    let (_, rest) = page.split_once("id=\"audit\"").expect("the numbers");
    let (_, rest) = rest.split_once('>').expect("the end of the mark");
    rest.split_once("</script>").expect("their end").0
}

#[test]
fn the_page_checks_itself_and_can_be_walked_through() {
    let Some(browser) = found("the page of an audit in a browser") else {
        return;
    };
    let page = tiny_audit(&[]).html();
    for width in [1200, 390] {
        let seen = driven(&browser, &page, width, "walk()");
        let passed = seen["start"][0].as_u64().expect("a number");
        assert!(passed > 30_000, "{seen}");
        assert_eq!(seen["start"][1], 0, "{seen}");
        assert_eq!(seen["after"], seen["start"]);
        let places = json!([[1, 0], [1, 1], [1, 2], [1, 3], [1, 4], [1, 5], [2, 0]]);
        assert_eq!(seen["places"], places);
        assert_eq!(
            (&seen["left"], &seen["right"]),
            (&json!([1, 5]), &json!([2, 0]))
        );
        assert_eq!(seen["focus"], "phase-title-0");
        let marks = seen["marks"].as_array().expect("an array");
        let marks: Vec<&Value> = marks.iter().filter_map(Value::as_array).flatten().collect();
        assert!(marks.iter().any(|mark| *mark == "agrees"));
        assert!(marks.iter().all(|mark| *mark != "differs"));
        assert_eq!(seen["opened"], true);
        assert_eq!(seen["chosen"], json!([2, 2]));
        assert_eq!((&seen["links"], &seen["unnamed"]), (&json!(0), &json!(0)));
        // Twice sigma is twice the noise: all roundings are those of half of it.
        let number =
            |value: &Value| -> f32 { value.as_str().expect("a text").parse().expect("a number") };
        assert_eq!(2.0 * number(&seen["sigma"][0]), number(&seen["sigma"][1]));
        assert_eq!(seen["sigma"][2], "chosen");
        let key = Stream::new(7, Purpose::Perturbation, 0, 0).key();
        assert_eq!(
            seen["seed"][0],
            format!("0x{:08x}, 0x{:08x}", key[0], key[1])
        );
        assert_eq!(seen["reset"], json!([seen["sigma"][0], "agrees"]));
        // Nothing is wider than the window, all cells and listings open.
        let widths = seen["width"].as_array().expect("an array");
        assert!(widths.iter().all(|over| *over == 0), "{seen}");
        assert_eq!(seen["screen"], width);
    }
}

/// The noise under other settings, against the generator itself.
#[test]
fn another_seed_gives_the_noise_that_the_program_would_draw() {
    let Some(browser) = found("other settings of an audit's page in a browser") else {
        return;
    };
    let audit = tiny_audit(&[]);
    let seen = driven(
        &browser,
        &audit.html(),
        1200,
        "go(0);slide('seed','7');report([valueOf('z'),valueOf('eps')])",
    );
    let document = &audit.document;
    let (element, pass) = (document.element, &document.traces[0].passes[1]);
    let stream = Stream::new(7, Purpose::Perturbation, 1, 0);
    let z = stream.normal((element.row * 8 + element.column) as u64);
    let number =
        |value: &Value| -> f32 { value.as_str().expect("a text").parse().expect("a number") };
    assert_eq!(number(&seen[0]), z);
    assert_eq!(number(&seen[1]), pass.deviation[element.row] * z);
}

#[test]
fn the_page_of_the_documentation_agrees() {
    let Some(browser) = found("the documentation's audit of MiniLM in a browser") else {
        return;
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit/minilm.html");
    let dom = rendered(&browser, &std::fs::read_to_string(path).expect("a page"));
    assert!(attribute(&dom, "checks-passed") > 300);
    assert_eq!(attribute(&dom, "checks-failed"), 0);
}

/// Fifty thousand normal numbers of the page have the bits of the program's: every
/// magnitude of a word is among them, up to one in 2^15.
#[test]
fn normal_numbers_of_the_page_have_the_bits_of_the_program() {
    let Some(browser) = found("the normal numbers of an audit's page in a browser") else {
        return;
    };
    const COUNT: usize = 50_000;
    let (seed, step, layer) = (u64::MAX - 5, 9, 3);
    let call = format!(
        "const key = keyOf({seed}n); \
         report(digestOfFloats(range({COUNT}).map((k) => draw(key, {layer}, {step}, k).z)))"
    );
    let seen = driven(&browser, &tiny_audit(&[]).html(), 1200, &call);
    let mut normal = vec![0.0; COUNT];
    Stream::new(seed, Purpose::Perturbation, step, layer).fill_normal(0, &mut normal);
    let bytes: Vec<u8> = normal.iter().flat_map(|z| z.to_le_bytes()).collect();
    let digest = Sha256::digest(&bytes);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(seen, digest);
}

#[test]
fn a_page_with_one_digit_changed_shows_red() {
    let Some(browser) = found("changed pages of an audit in a browser") else {
        return;
    };
    let page = larger_audit().html();
    assert_eq!(attribute(&rendered(&browser, &page), "checks-failed"), 0);
    let changes = digits(&page, 200, 1);
    let call = format!("change({})", json!(changes));
    let failed = driven(&browser, &page, 1200, &call);
    let failed = failed.as_array().expect("an array");
    assert_eq!(failed.len(), changes.len());
    // -1 is a text that is no JSON any more, which the page shows as one failed check.
    assert!(failed.iter().all(|failed| *failed != 0), "{failed:?}");
    for (place, digit) in changes.into_iter().take(3) {
        let mut numbers = numbers(&page).to_owned();
        numbers.replace_range(place..=place, &digit.to_string());
        let changed = page.replace(self::numbers(&page), &numbers);
        let dom = rendered(&browser, &changed);
        assert!(attribute(&dom, "checks-failed") > 0, "{digit} at {place}");
    }
}

/// The digest apart, the calculation itself finds a number of the followed element that
/// is off by a thousandth.
#[test]
fn the_calculation_finds_every_number_of_the_element() {
    let Some(browser) = found("the calculation of an audit's page in a browser") else {
        return;
    };
    let failed = driven(&browser, &larger_audit().html(), 1200, "recalculate()");
    let failed = failed.as_object().expect("an object");
    assert_eq!(failed.len(), 22);
    for (name, count) in failed {
        assert!(count.as_u64() > Some(0), "{name}: {failed:?}");
    }
}
