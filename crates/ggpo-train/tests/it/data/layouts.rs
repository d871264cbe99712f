//! The layouts of published data sets.

use ggpo_train::data::layout::Layout;
use ggpo_train::data::{Answer, Dataset, Example, TaskConfig, TaskKind};
use ggpo_train::metrics::Metric;

use super::{Place, classes};

/// A file in each layout, written for this test, with a row or two.
const LAYOUTS: [(Layout, &str); 8] = [
    (
        Layout::Sst2,
        "sentence\tlabel\na film like a warm bath \t1\nhe \"acts\" with his hat \t0\n",
    ),
    (
        Layout::Cola,
        "ab12\t1\t\tThe goat ate my hat.\nab12\t0\t*\tGoat the my ate hat.\n",
    ),
    (
        Layout::Mrpc,
        "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n\
         1\t11\t12\tThe mill closed.\tThe mill shut.\n\
         0\t13\t14\tThe mill closed.\tA mill \"opened\".\n",
    ),
    (
        Layout::Qnli,
        "index\tquestion\tsentence\tlabel\n\
         0\tWho baked it?\tIda baked it.\tentailment\n\
         1\tWho ate it?\tIda baked it.\tnot_entailment\n",
    ),
    (
        Layout::Mnli,
        "index\tpromptID\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
         0\t7\t(S)\tIt rains.\tIt is wet.\tneutral\tentailment\n\
         1\t8\t(S)\tIt rains.\tIt is Monday.\tneutral\t-\n\
         2\t9\t(S)\tIt rains.\tIt is dry.\tneutral\tcontradiction\n",
    ),
    (
        Layout::Rte,
        "index\tsentence1\tsentence2\tlabel\n\
         0\tAll goats climb.\tThis goat climbs.\tentailment\n\
         1\tThis goat climbs.\tAll goats climb.\tnot_entailment\n",
    ),
    (
        Layout::Qqp,
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n\
         0\t1\t2\tHow old is a goat?\tWhat age has a goat?\t1\n\
         1\t3\t4\tHow old is a goat?\tHow tall is a goat?\t0\n",
    ),
    (
        Layout::StsB,
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
         0\tg\tf\t2020\t1\ta\tb\tA goat climbs.\tA goat is climbing.\t4.750\n\
         1\tg\tf\t2020\t2\ta\tb\tA goat climbs.\tA man sings.\t0\n",
    ),
];

#[test]
fn the_published_layouts_are_known() {
    let place = Place::new();
    for (layout, file) in LAYOUTS {
        let mut task = place.task(layout.kind(), "train.tsv", file);
        task.layout = Some(layout);
        let dataset = place.open(&task);
        assert_eq!(dataset.rows.len(), 2, "{layout:?}");
        assert_eq!(dataset.labels, layout.labels());
        let rows = dataset.rows.iter();
        assert!(
            rows.clone()
                .all(|row| row.pair.is_some() == layout.is_pair())
        );
        let segments = |it: &Example| it.token_types.contains(&1) == layout.is_pair();
        assert!(dataset.examples.iter().all(segments));
        match layout {
            Layout::StsB => {
                let values = [4.75, 0.0].map(Answer::Value);
                assert!(dataset.examples.iter().map(|it| &it.answer).eq(&values));
            }
            Layout::Qnli | Layout::Rte => {
                assert_eq!(classes(&dataset), ["entailment", "not_entailment"]);
            }
            Layout::Mnli => {
                assert_eq!(classes(&dataset), ["entailment", "contradiction"]);
                assert_eq!(dataset.notes.without_label, 1);
                assert!(
                    dataset
                        .notes
                        .to_string()
                        .ends_with("left out without gold label: 1")
                );
            }
            _ => assert_eq!(classes(&dataset), ["1", "0"]),
        }
    }
}

#[test]
fn layouts_bring_their_labels_ranges_and_metrics() {
    let place = Place::new();
    let layout = |layout: Layout, file: &str| TaskConfig {
        layout: Some(layout),
        ..place.task(layout.kind(), "train.tsv", file)
    };
    let file = "sentence\tlabel\nx\t1\ny\t2\n";
    assert_eq!(
        place.refusal(&layout(Layout::Sst2, file)),
        "line 3: expected one of the labels \"0\", \"1\", found \"2\""
    );
    let file = "sentence1\tsentence2\tscore\nx\ty\t5.1\n";
    assert_eq!(
        place.refusal(&layout(Layout::StsB, file)),
        "line 2: expected a number from 0 to 5, found \"5.1\""
    );
    let file = "sentence1\tsentence2\tlabel\nx\ty\tentailment\n";
    assert_eq!(
        place.refusal(&layout(Layout::StsB, file)),
        "line 1: expected a column \"score\", found \"sentence1\", \"sentence2\", \"label\" \
         (the first line names the columns unless header = false)"
    );
    let metric = |it| layout(it, "").chosen_metric();
    assert_eq!(metric(Layout::Cola), Metric::Matthews);
    assert_eq!(metric(Layout::Sst2), Metric::Accuracy);
    assert_eq!(metric(Layout::StsB), Metric::Correlation);
}

#[test]
fn files_without_answers_can_be_predicted() {
    let place = Place::new();
    let cola = TaskConfig {
        layout: Some(Layout::Cola),
        ..TaskConfig::new(TaskKind::Classification, "train.tsv", 64)
    };
    let test = place.write(
        "test.tsv",
        "index\tsentence\n0\tGoats climb.\n1\tClimb goats.\n",
    );
    let dataset = Dataset::open_unlabelled(&test, &cola, &place.tokenizer).expect("texts");
    assert_eq!(dataset.rows[0].text, "Goats climb.");
    assert!(dataset.labels.is_empty());
    let unknown = |it: &Example| it.answer == Answer::Unknown;
    assert!(dataset.examples.iter().all(unknown));
    // A file with answers is as good.
    let dev = place.write("dev.tsv", LAYOUTS[1].1);
    let dataset = Dataset::open_unlabelled(&dev, &cola, &place.tokenizer).expect("texts");
    assert_eq!(dataset.rows[1].text, "Goat the my ate hat.");
    assert_eq!(dataset.rows[1].label, None);

    let plain = TaskConfig::new(TaskKind::LanguageModelling, "train.txt", 64);
    assert!(Dataset::open_unlabelled(&test, &plain, &place.tokenizer).is_err());
}
