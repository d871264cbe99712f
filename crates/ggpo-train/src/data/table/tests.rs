use proptest::prelude::*;

use super::*;

fn source(format: Format) -> Source {
    Source {
        format,
        header: true,
        text: "text".into(),
        pair: None,
        label: Some("label".into()),
        no_label: None,
        keep_space: false,
        is_chat: false,
    }
}

fn read(contents: &[u8], source: &Source) -> Table {
    parse(Path::new("rows"), contents, source).expect("a table")
}

/// What is wrong with the file, or the first bad row and why.
fn problem(contents: &[u8], source: &Source) -> String {
    match parse(Path::new("rows"), contents, source) {
        Ok(table) => {
            let BadRow { line, reason } = table.bad.iter().next().expect("a bad row");
            format!("line {line}: {reason}")
        }
        Err(error) => {
            let sentence = error.to_string();
            let rest = sentence.strip_prefix("rows: ").expect("names the file");
            rest.to_owned()
        }
    }
}

/// Labels and texts.
fn rows(table: &Table) -> Vec<(&str, &str)> {
    let both = |row| {
        let Row { text, label, .. }: &Row = row;
        (label.as_deref().unwrap_or_default(), text.as_str())
    };
    table.rows.iter().map(both).collect()
}

#[test]
fn tabs_separate_and_quotes_are_quotes() {
    let file = b"label\ttext\nspam\tWin \"now\nham\t See you, then \nspam\t\"x\"\n";
    let expected = [
        ("spam", "Win \"now"),
        ("ham", "See you, then"),
        ("spam", "\"x\""),
    ];
    assert_eq!(rows(&read(file, &source(Format::Tsv))), expected);
}

#[test]
fn columns_are_found_by_name_behind_a_byte_order_mark() {
    let file = b"\xEF\xBB\xBFid\ttext\tlabel\r\n1\tyes indeed\tb\r\n\r\n2\tno\ta";
    let table = read(file, &source(Format::Tsv));
    assert_eq!(rows(&table), [("b", "yes indeed"), ("a", "no")]);
    assert_eq!(table.rows[1].line, 4);
    let file = b"\xEF\xBB\xBFid,text,label\r\n1,yes indeed,b\r\n\r\n2,no,a";
    let table = read(file, &source(Format::Csv));
    assert_eq!(rows(&table), [("b", "yes indeed"), ("a", "no")]);
    assert_eq!(table.rows[1].line, 4);
}

#[test]
fn columns_are_counted_from_one() {
    let numbered = Source {
        header: false,
        text: 3.into(),
        pair: Some(1.into()),
        label: None,
        ..source(Format::Tsv)
    };
    let table = read(b"a\tb\tc\nd\te\tf\n", &numbered);
    let expected = Row {
        line: 2,
        text: "f".to_owned(),
        pair: Some("d".to_owned()),
        label: None,
    };
    assert_eq!((table.rows.len(), &table.rows[1]), (2, &expected));
    let below_a_header = Source {
        header: true,
        ..numbered.clone()
    };
    assert_eq!(
        read(b"a\tb\tc\nd\te\tf\n", &below_a_header).rows,
        [expected]
    );
    assert_eq!(
        problem(b"a\tb\n", &numbered),
        "line 1: expected a column 3, found 2 columns"
    );
}

#[test]
fn commas_are_quoted_as_the_standard_says() {
    let file = b"text,label\n\"one, \"\"two\"\"\nthree\",a\nplain,b\n";
    let table = read(file, &source(Format::Csv));
    assert_eq!(rows(&table), [("a", "one, \"two\"\nthree"), ("b", "plain")]);
    assert_eq!(table.rows[1].line, 4);
    let open = b"text,label\n\"one,a\ntwo,b\nthree,a\n";
    assert_eq!(
        problem(open, &source(Format::Csv)),
        "line 2: expected a closing quote, found the end of the file"
    );
}

#[test]
fn fields_of_objects_are_found_by_name() {
    let file = "{\"label\": 1, \"text\": \"caf\\u00e9\\n\"}\n\n{\"text\": \"b\", \"label\": \"x\", \"more\": [1]}\n";
    let table = read(file.as_bytes(), &source(Format::Jsonl));
    assert_eq!(rows(&table), [("1", "caf\u{e9}"), ("x", "b")]);
    assert_eq!(table.rows[1].line, 3);
    let kept = Source {
        keep_space: true,
        ..source(Format::Jsonl)
    };
    assert_eq!(read(file.as_bytes(), &kept).rows[0].text, "caf\u{e9}\n");
}

#[test]
fn columns_that_are_not_there_are_named() {
    let tsv = source(Format::Tsv);
    assert_eq!(problem(b"", &tsv), "expected rows, found an empty file");
    assert_eq!(
        problem(b"label\tsentence\na\tx\n", &tsv),
        "line 1: expected a column \"text\", found \"label\", \"sentence\" \
         (the first line names the columns unless header = false)"
    );
    assert_eq!(
        problem(b"label\ttext\ttext\na\tx\ty\n", &tsv),
        "line 1: expected one column \"text\", found two"
    );
    assert_eq!(
        problem(
            b"{\"a\": 1}\n{\"b\": 1, \"label\": 2}\n",
            &source(Format::Jsonl)
        ),
        "expected a field \"text\", found \"a\""
    );
}

#[test]
fn bad_rows_name_the_line_and_the_reason() {
    let tsv = |rows: &[u8]| {
        problem(
            &[b"label\ttext\na\tx\n", rows].concat(),
            &source(Format::Tsv),
        )
    };
    assert_eq!(
        tsv(b"b\t \n"),
        "line 3: expected a text, found an empty one"
    );
    assert_eq!(
        tsv(b"\n\n\tx\n"),
        "line 5: expected a label, found an empty one"
    );
    assert_eq!(tsv(b"\r\nb\r\n"), "line 4: expected 2 columns, found 1");
    assert_eq!(tsv(b"b\ty\tz\n"), "line 3: expected 2 columns, found 3");
    let other = "line 3: expected UTF-8 text, found other bytes";
    assert_eq!(tsv(b"b\t\xFF\n"), other);
    let csv = |rows: &[u8]| problem(&[b"label,text\na,x\n", rows].concat(), &source(Format::Csv));
    assert_eq!(csv(b"b,\xFF\n"), other);
    assert_eq!(csv(b"\n\"b\nc\"\n"), "line 4: expected 2 columns, found 1");
    let json = |row: &str| {
        let file = format!("{{\"text\": \"a\", \"label\": 1}}\n\n{row}\n");
        problem(file.as_bytes(), &source(Format::Jsonl))
    };
    for (row, reason) in [
        (
            "{\"text\": \"a\"}",
            "expected text or a number in \"label\", found none",
        ),
        (
            "{\"text\": \"\", \"label\": 1}",
            "expected a text, found an empty one",
        ),
        (
            "{\"text\": 3, \"label\": 1}",
            "expected text in \"text\", found a number",
        ),
        (
            "{\"text\": null, \"label\": 1}",
            "expected text in \"text\", found null",
        ),
        (
            "[1]",
            "expected a JSON object, found other text at column 0 (invalid type: sequence, expected a map)",
        ),
        (
            "{\"text\": \"a",
            "expected a JSON object, found other text at column 11 (EOF while parsing a string)",
        ),
    ] {
        assert_eq!(json(row), format!("line 3: {reason}"));
    }
}

#[test]
fn bad_rows_do_not_hide_the_good_ones() {
    let table = read(
        b"label\ttext\na\tx\nb\n\xFF\tx\nc\tz\n",
        &source(Format::Tsv),
    );
    assert_eq!(rows(&table), [("a", "x"), ("c", "z")]);
    let lines: Vec<u64> = table.bad.iter().map(|row| row.line).collect();
    assert_eq!(lines, [3, 4]);
}

/// A field as it stands in CSV, quoted.
fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn every_row_comes_back_from_tabs(
        table in prop::collection::vec(("[a-c]", "\\S([^\t\r\n]{0,20}\\S)?"), 1..20),
    ) {
        let line = |(label, text): &(String, String)| format!("{label}\t{text}\n");
        let file = "label\ttext\n".to_owned() + &table.iter().map(line).collect::<String>();
        let read = read(file.as_bytes(), &source(Format::Tsv));
        let expected: Vec<(&str, &str)> = table.iter()
            .map(|(label, text)| (label.as_str(), text.as_str()))
            .collect();
        prop_assert_eq!(rows(&read), expected);
    }

    #[test]
    fn every_row_comes_back_from_commas(
        table in prop::collection::vec(("[a-c]", "[\\s\\S]{0,20}\\S"), 1..20),
    ) {
        let line = |(label, text): &(String, String)| format!("{},{label}\n", quoted(text));
        let file = "text,label\n".to_owned() + &table.iter().map(line).collect::<String>();
        let kept = Source { keep_space: true, ..source(Format::Csv) };
        let read = read(file.as_bytes(), &kept);
        let expected: Vec<(&str, &str)> = table.iter()
            .map(|(label, text)| (label.as_str(), text.as_str()))
            .collect();
        prop_assert_eq!(rows(&read), expected);
        // A row begins in the line after those of the rows before it.
        let mut line = 2;
        for (row, (_, text)) in read.rows.iter().zip(&table) {
            prop_assert_eq!(row.line, line);
            line += 1 + text.matches('\n').count() as u64;
        }
    }

    #[test]
    fn every_row_comes_back_from_objects(
        table in prop::collection::vec((-9i32..9, "[\\s\\S]{0,20}\\S"), 1..20),
    ) {
        let line = |(label, text): &(i32, String)| {
            let object = serde_json::json!({"text": text, "label": label});
            format!("{object}\n")
        };
        let file: String = table.iter().map(line).collect();
        let kept = Source { keep_space: true, ..source(Format::Jsonl) };
        let read = read(file.as_bytes(), &kept);
        let found: Vec<(String, String)> = read.rows.into_iter()
            .map(|row| (row.label.unwrap_or_default(), row.text))
            .collect();
        let expected: Vec<(String, String)> = table.into_iter()
            .map(|(label, text)| (label.to_string(), text))
            .collect();
        prop_assert_eq!(found, expected);
    }

    /// No bytes make the readers panic, and a row for a reader of lines is a
    /// line that is not empty.
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, format in 0..3usize) {
        let format = [Format::Tsv, Format::Csv, Format::Jsonl][format];
        let numbered = Source {
            header: false,
            text: 1.into(),
            label: None,
            ..source(format)
        };
        if let Ok(table) = parse(Path::new("rows"), &bytes, &numbered) {
            let found = table.rows.len() + table.bad.len();
            let lines = bytes.split(|&byte| byte == b'\n');
            match format {
                Format::Tsv => {
                    let empty = |line: &[u8]| line.is_empty() || line == b"\r";
                    prop_assert_eq!(found, lines.filter(|line| !empty(line)).count());
                }
                Format::Csv => {}
                Format::Jsonl => {
                    let full = |line: &&[u8]| !line.trim_ascii().is_empty();
                    prop_assert_eq!(found, lines.filter(full).count());
                }
            }
        }
    }
}

/// A file may hold nothing but bad rows; and those found later may stand before others.
#[test]
fn of_bad_rows_the_first_are_kept() {
    let mut bad = BadRows::default();
    for line in (0..100).rev().chain(100..200) {
        let reason = line.to_string();
        bad.push(BadRow { line, reason });
    }
    assert_eq!(bad.len(), 200);
    let lines: Vec<u64> = bad.iter().map(|row| row.line).collect();
    assert_eq!(lines, (0..32).collect::<Vec<u64>>());
}

#[test]
fn rows_that_would_take_all_memory_are_refused() {
    assert_eq!(most_rows(0), 312_500);
    assert_eq!(most_rows(32_000_000), 1_312_500);
    let path = Path::new("x.tsv");
    refuse_many(path, 7, 7).expect("just few enough");
    let sentence = refuse_many(path, 8, 7).expect_err("refused").to_string();
    assert!(
        sentence.starts_with("x.tsv: expected at most 7 rows"),
        "{sentence}"
    );
}
