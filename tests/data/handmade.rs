//! The readers on small handmade sources: what each column and file becomes.

use crate::case::Case;
use waata_data::formats::{Loaded, read};
use waata_data::{Dataset, Names, Split};

fn load(files: &[(&str, &str)]) -> Loaded {
    let case = Case::new(files);
    read(&case.raw(), None, case.options().map.as_deref(), &Default::default()).unwrap()
}

/// The courses of a learner by name, with their split, in order.
fn row_names(data: &Dataset, learner: usize) -> Vec<(&str, Split)> {
    let i = &data.interactions;
    data.rows(learner).map(|r| (&data.entity_names[i.course[r] as usize], i.split[r])).collect()
}

const TRAIN: Split = Split::Train;
const VALID: Split = Split::Valid;
const TEST: Split = Split::Test;

fn join(names: &Names) -> String {
    names.iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn interchange_with_everything() {
    let loaded = load(&[
        (
            "interactions.csv",
            "done,course,split,learner,time\n1,1,test,30,2020-01-02\n0,0,train,30,2020-01-01T23:59\n0,1,train,7,2021-01-01\n",
        ),
        ("triples.csv", "tail,head,relation,source\n2,0,0,x\n3,1,0,y\n"),
        ("courses.csv", "course,name\n1,Logic\n0,\"Sets, and more\"\n"),
        ("entities.csv", "entity,kind,name\n3,teacher,B\n2,teacher,A\n"),
        ("relations.csv", "relation,name\n0,taught by\n"),
        ("learners.csv", "learner,name\n30,u-30\n7,u-7\n50,u-50\n"),
    ]);
    assert!(loaded.report.format == "interchange" && loaded.report.has_split && loaded.report.missing.is_empty());
    let data = loaded.dataset;
    assert_eq!(data.learner_names, ["u-7", "u-30", "u-50"]);
    assert_eq!(data.entity_names, ["Sets, and more", "Logic", "A", "B"]);
    assert_eq!((data.courses, &data.triples[..]), (2, &[[0, 0, 2], [1, 0, 3]][..]));
    assert_eq!(row_names(&data, 1), [("Sets, and more", TRAIN), ("Logic", TEST)]);
    assert_eq!(data.interactions.label_values, [[0, 0, 1]]);
    assert!(data.rows(2).is_empty() && data.interactions.has_time);
}

#[test]
fn interchange_with_the_least() {
    let data = load(&[("interactions.csv", "learner,course\n8,2\n3,0\n8,0\n")]).dataset;
    assert_eq!((join(&data.learner_names), join(&data.entity_names)), ("3 8".into(), "0 1 2".into()));
    assert_eq!(data.courses_of(1), [2, 0]);
    assert!(!data.interactions.has_time && data.labels.is_empty());
}

#[test]
fn kgat_with_lists_and_names() {
    let loaded = load(&[
        ("train.txt", "1 2 0\r\n0 1\r\n"),
        ("valid.txt", "1 1\n"),
        ("test.txt", "0 2\n"),
        ("kg_final.txt", "0 0 4\n"),
        ("user_list.txt", "org_id remap_id gender\nU_5 1 f\nU_4 0 m\n"),
        ("item_list.txt", "org_id remap_id\nC a 0\nC_b 1\nC_c 2\n"),
        ("entity_school_decode.tsv", "4\tS_1\tSchool of Law\t3/3\n"),
    ]);
    assert!(loaded.report.format == "kgat" && loaded.report.has_split);
    assert_eq!(loaded.report.missing, ["entity_list.txt", "relation_list.txt"]);
    let data = loaded.dataset;
    assert_eq!(data.learner_names, ["U_4", "U_5"]);
    assert_eq!(data.entity_names, ["C a", "C_b", "C_c", "3", "School of Law"]);
    assert_eq!(row_names(&data, 1), [("C_c", TRAIN), ("C a", TRAIN), ("C_b", VALID)]);
    assert_eq!(row_names(&data, 0), [("C_b", TRAIN), ("C_c", TEST)]);
    assert!(data.interactions.has_time);
}

#[test]
fn table_with_text_ids() {
    let map = r#"
        name = "log"
        [interactions]
        files = ["a.csv", "b.csv"]
        delimiter = ";"
        ids = "text"
        learner = "who"
        course = "what"
        time = "when"
        time_missing = "first"
        split = "part"
        labels = ["sat", { name = "busy", when = "hours > 1.5" }, { name = "idle", when = "hours == 0" }]
        [triples]
        file = "kg.txt"
        header = false
        head = 0
        relation = 1
        tail = 2
        [attributes]
        pattern = '^(?<code>[a-z]+)-(?<term>\d+)$'
    "#;
    let loaded = load(&[
        ("map.toml", map),
        ("a.csv", "who;what;when;part;sat;hours\nann;law-20;5;test;1;2\nbo;art;1;train;0;1\n"),
        ("b.csv", "part;when;what;who;hours;sat\ntrain;;\"law-21\";ann;0;0\n"),
        ("kg.txt", "law-20\tbefore\tlaw-21\nart\tby\tEve\n"),
    ]);
    assert_eq!(loaded.report.notes, ["1 courses do not match the pattern of [attributes]"]);
    assert_eq!(loaded.report.files, ["a.csv", "b.csv", "kg.txt"]);
    let data = loaded.dataset;
    assert_eq!((data.name.as_str(), join(&data.learner_names)), ("log", "ann bo".into()));
    assert_eq!(data.entity_names, ["law-20", "art", "law-21", "Eve", "code:law", "term:20", "term:21"]);
    assert_eq!(data.relation_names, ["before", "by", "code", "term"]);
    assert_eq!(data.triples, [[0, 0, 2], [1, 1, 3], [0, 2, 4], [0, 3, 5], [2, 2, 4], [2, 3, 6]]);
    assert_eq!(row_names(&data, 0), [("law-21", TRAIN), ("law-20", TEST)]);
    assert_eq!(data.labels, ["sat", "busy", "idle"]);
    assert_eq!(data.interactions.label_values, [[0, 1, 0], [0, 1, 0], [1, 0, 0]]);
}

#[test]
fn table_with_positions_and_integer_ids() {
    let map = r#"
        [interactions]
        files = { train = "x.txt", test = "y.txt" }
        delimiter = " "
        header = false
        ids = "integer"
        learner = 1
        course = 0
        courses = 4
        labels = [{ name = "long", when = "2 >= 10" }]
        [triples]
        file = "none.tsv"
        head = 0
        relation = 1
        tail = 2
        [entities]
        file = "names.csv"
        id = "id"
        name = "title"
    "#;
    let files = [
        ("map.toml", map),
        ("x.txt", "2 9 10\n0 9 9.5\n"),
        ("y.txt", "1 9 1e3\n"),
        ("names.csv", "id,title\n4,D\n5,E\n"),
    ];
    let loaded = load(&files);
    assert_eq!(loaded.report.missing, ["none.tsv"]);
    let data = loaded.dataset;
    assert_eq!((data.courses, join(&data.entity_names)), (4, "0 1 2 3 D E".into()));
    assert_eq!(row_names(&data, 0), [("2", TRAIN), ("0", TRAIN), ("1", TEST)]);
    assert_eq!(data.interactions.label_values, [[1, 0, 1]]);
}
