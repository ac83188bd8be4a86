//! MOOCCubeX as published, in small: every quirk of its files, what becomes of them, and what is never kept.

use crate::case::{Case, format, says};
use waata_data::formats::ReadOptions;
use waata_data::prepare::{PrepareOptions, prepare};
use waata_data::{Dataset, Split};

/// Learners: 24 with two courses out of time order, 7 with a course twice and one that course.json does not have,
/// 9 without any, and 30. The names are what must not be found in the result.
const USERS: &str = r#"{"id":"U_24","name":"SECRET Li","gender":1,"school":"SECRET school","year_of_birth":1987,"course_order":[597214,584313],"enroll_time":["2019-05-20 16:06:48","2019-05-19 08:00:00"]}
{"id":"U_7","name":"SECRET \"Wang\"","gender":null,"school":"","year_of_birth":null,"course_order":[584313,777,584313],"enroll_time":["2020-01-01 00:00:00","2020-01-02 00:00:00","2020-01-03 00:00:00"]}
{"id":"U_9","name":"SECRET","gender":0,"school":"SECRET","year_of_birth":1990,"course_order":[],"enroll_time":[]}

{"course_order":[584313],"enroll_time":["2020-02-29 23:59:59"],"id":"U_30","name":"SECRET"}
"#;

/// Two videos, one of them in both courses; exercises 1 and 2.
const COURSES: &str = r#"{"id":"C_584313","name":"《资治通鉴》导读","field":["历史学","历史学"],"prerequisites":"无","about":"<p>...</p>","resource":[{"titles":["第一课","导论"],"resource_id":"V_849","chapter":"1.1.1"},{"titles":[],"resource_id":"V_850","chapter":"1.1.2"},{"titles":[],"resource_id":"Ex_1","chapter":"1.1.3"},{"titles":[],"resource_id":"H_5","chapter":""}]}
{"id":"C_597214","name":"\u7ebf\u6027\u4ee3\u6570","field":[],"prerequisites":"","about":"","resource":[{"titles":[],"resource_id":"V_849","chapter":"1"},{"titles":[],"resource_id":"Ex_2","chapter":"2"},{"titles":[],"resource_id":null,"chapter":""}]}
{"id":"C_1","name":null,"field":null,"resource":null}
"#;

/// 24 watched the shared video twice and one that no course has; 7 only looked at broken segments; 30 watched both
/// videos of 584313; 99 is nobody.
const WATCHED: &str = r#"{"user_id":"U_24","seq":[{"video_id":"V_849","segment":[{"start_point":0.0,"end_point":12.5,"speed":1.25,"local_start_time":1580000000},{"start_point":12,"end_point":20,"speed":1,"local_start_time":1580000001}]},{"video_id":"V_849","segment":[{"start_point":1,"end_point":2}]},{"video_id":"V_12345","segment":[{"start_point":1,"end_point":2}]}]}
{"user_id":"U_7","seq":[{"video_id":"V_849","segment":[{"start_point":10,"end_point":9.5},{"start_point":0,"end_point":50000.5},{"start_point":NaN,"end_point":3}]},{"video_id":"V_850","segment":[]}]}
{"user_id":"U_30","seq":[{"video_id":"V_849","segment":[{"start_point":0,"end_point":50000}]}]}
{"user_id":"U_30","seq":[{"video_id":"V_850","segment":[{"start_point":3,"end_point":3}]},{"video_id":"ccid","segment":[{"start_point":3,"end_point":3}]}]}
{"user_id":"U_99","seq":[{"video_id":"V_850","segment":[{"start_point":3,"end_point":4}]}]}
"#;

/// Exercise 1 of 584313 has problems 10 and 11, exercise 2 of 597214 has 20 to 22; no course has exercise 3.
const PROBLEMS: &str = "Ex_1\tPm_10\r\nEx_1\tPm_11\r\nEx_2\tPm_20\r\nEx_2\tPm_21\r\nEx_2\tPm_22\r\nEx_3\tPm_30\r\n";

/// 24 answered two of three problems of 597214, one of them twice; 7 one of two of 584313.
const ANSWERED: &str = r#"{"log_id":"24_20","problem_id":"Pm_20","user_id":"U_24","is_correct":0,"attempts":1,"score":null,"submit_time":"2020-05-04 01:04:01"}
{"log_id":"24_20","problem_id":"Pm_20","user_id":"U_24","is_correct":1,"attempts":2,"score":50,"submit_time":"2020-05-04 01:05:01"}
{"log_id":"24_21","problem_id":"Pm_21","user_id":"U_24","is_correct":1,"attempts":1,"score":1.5,"submit_time":"2020-05-04 01:06:01"}
{"log_id":"7_11","problem_id":"Pm_11","user_id":"U_7","is_correct":null,"attempts":1,"score":0,"submit_time":"2020-05-04 01:06:01"}
{"log_id":"7_20","problem_id":"Pm_20","user_id":"U_7","is_correct":1,"attempts":1,"score":1,"submit_time":"2020-05-04 01:06:01"}
"#;

const FIELDS: &str = r#"{"course_id":584313,"course_name":"x","field":["历史学","中国语言文学"]}
{"course_id":777,"course_name":"y","field":["历史学"]}
{"course_id":888,"course_name":"in no other file","field":["法学"]}
"#;

const RELATIONS: [(&str, &str); 10] = [
    ("relations/course-field.json", FIELDS),
    ("relations/course-school.txt", "C_584313\tS_1\r\nC_597214\tS_1\r\nC_888\tS_2\r\n"),
    ("relations/course-teacher.txt", "C_584313\tT_1\nC_584313\tT_2\nC_584313\tT_1\n"),
    ("relations/concept-course.txt", "concept\tcourse\nK_三朝_历史学\tC_584313\nK_linear map_数学\tC_597214\n"),
    ("entities/school.json", "{\"id\":\"S_1\",\"name\":\"清华大学\",\"name_en\":\"Tsinghua\",\"sign\":\"x\"}\n"),
    ("entities/teacher.json", "{\"id\":\"T_2\",\"name\":\" Zhang \",\"about\":\"\"}\n{\"id\":\"T_1\",\"name\":null}\n"),
    ("entities/concept.json", "{\"id\":\"K_三朝_历史学\",\"name\":\"三朝\",\"context\":[]}\n"),
    ("prerequisites/psy.json", ""),
    ("prerequisites/math.json", "{\"c1\":\"三朝\",\"c2\":\"linear map\",\"ground_truth\":1}\n"),
    ("prerequisites/cs.json", ""),
];

fn whole() -> Case {
    let mut files = vec![
        ("entities/user.json", USERS),
        ("entities/course.json", COURSES),
        ("relations/user-video.json", WATCHED),
        ("relations/exercise-problem.txt", PROBLEMS),
        ("relations/user-problem.json", ANSWERED),
    ];
    files.extend(RELATIONS);
    Case::new(&files)
}

/// (course, completed) of a learner's rows, in time order.
fn rows(data: &Dataset, learner: usize) -> Vec<(&str, u8)> {
    let i = &data.interactions;
    let name = |row: usize| &data.entity_names[i.course[row] as usize];
    data.rows(learner).map(|row| (name(row), i.label_values[0][row])).collect()
}

fn share(completed_share: f64) -> ReadOptions {
    ReadOptions { completed_share: Some(completed_share), ..Default::default() }
}

const A: &str = "C_584313 《资治通鉴》导读";
const B: &str = "C_597214 线性代数";

#[test]
fn enrolments_are_in_time_order_and_merged() {
    let (data, report) = whole().read(ReadOptions::default());
    assert_eq!((report.format.as_str(), report.duplicates, report.malformed), ("mooccubex", 1, 0));
    assert!(report.missing.is_empty(), "{:?}", report.missing);
    assert_eq!(data.learner_names, ["U_24", "U_7", "U_30"]);
    assert_eq!(data.entity_names.iter().take(data.courses).collect::<Vec<_>>(), [A, B, "C_1", "C_777"]);
    let courses = |learner| rows(&data, learner).into_iter().map(|(course, _)| course).collect::<Vec<_>>();
    assert_eq!((courses(0), courses(1), courses(2)), (vec![A, B], vec![A, "C_777"], vec![A]));
    assert!(data.interactions.has_time);
    says(&report, "1 learners have no enrolment");
    says(&report, "1 courses have enrolments but no line in course.json");
    says(&report, "1 resources are neither V_ nor Ex_");
}

#[test]
fn completed_is_a_share_of_videos_or_of_problems() {
    // U_24: one of two videos of A, the only one of B, two of three problems of B. U_7: one of two problems of A.
    // U_30: both videos of A, in two lines of the log.
    let expected = [(0.5, [1, 1, 1, 0, 1]), (0.51, [0, 1, 0, 0, 1]), (1.0, [0, 1, 0, 0, 1])];
    let case = whole();
    for (threshold, labels) in expected {
        let (data, report) = case.read(share(threshold));
        assert_eq!(data.labels, ["completed"]);
        assert_eq!(data.interactions.label_values[0], labels, "{threshold}");
        says(&report, "3 of 11 segments end before they start or after 50000 s");
        says(&report, "user-video.json: of 7 videos watched, 0 belong to courses");
        says(&report, "2 to no course, and 1 to learners without an enrolment");
        says(&report, "user-problem.json: of 5 answers, 1 belong to courses that the learner is not enrolled in");
    }
    assert_eq!(case.read(ReadOptions::default()).0, case.read(share(0.5)).0);
    says(&case.read(share(0.5)).1, "2 of 5 enrolments reach 50 % of the course's problems (2 courses have any)");
}

#[test]
fn either_log_is_enough() {
    let base = [("entities/user.json", USERS), ("entities/course.json", COURSES)];
    let labels = |more: &[(&str, &str)]| {
        let (data, report) = Case::new(&[&base, more].concat()).read(share(0.6));
        (data.interactions.label_values, report)
    };
    let videos = [("relations/user-video.json", WATCHED)];
    assert_eq!(labels(&videos).0, [[0, 1, 0, 0, 1]]);
    let problems = [("relations/user-problem.json", ANSWERED), ("relations/exercise-problem.txt", PROBLEMS)];
    assert_eq!(labels(&problems).0, [[0, 1, 0, 0, 0]]);
    for nothing in [&[][..], &problems[..1], &problems[1..]] {
        let (values, report) = labels(nothing);
        assert!(values.is_empty());
        says(&report, "no label");
    }
}

#[test]
fn the_knowledge_graph() {
    let (data, report) = whole().read(ReadOptions::default());
    assert_eq!(data.relation_names, ["field", "school", "teacher", "concept"]);
    let name = |entity: u32| &data.entity_names[entity as usize];
    let triples: Vec<_> =
        (data.triples.iter()).map(|&[h, r, t]| (name(h), &data.relation_names[r as usize], name(t))).collect();
    assert_eq!(
        triples,
        [
            (A, "field", "field:历史学"),
            (A, "field", "field:中国语言文学"),
            ("C_777", "field", "field:历史学"),
            (A, "school", "S_1 清华大学"),
            (B, "school", "S_1 清华大学"),
            (A, "teacher", "T_1"),
            (A, "teacher", "T_2 Zhang"),
            (A, "concept", "K_三朝_历史学"),
            (B, "concept", "K_linear map_数学"),
        ]
    );
    assert_eq!(data.entities(), 4 + 2 + 1 + 2 + 2);
    says(&report, "concept-course.txt: the first line is a header");
    says(&report, "course-field.json: 1 lines name a course that neither course.json nor an enrolment has");
    says(&report, "course-school.txt: 1 lines name a course");
}

/// Pairs are of names; the ids that courses have tell the fields. 集合 is in two fields, 映射 in both, 图 in one.
#[test]
fn prerequisites_are_between_concepts_of_one_field() {
    let concepts = "K_集合_数学\tC_584313\nK_集合_计算机\tC_584313\nK_映射_数学\tC_597214\nK_映射_计算机\tC_597214\n\
                    K_图_计算机\tC_597214\nK_under_score_数学\tC_597214\n";
    let cs = r#"{"c1":"集合","c2":"映射","ground_truth":1,"text_predict":[0.03,0.97],"graph_predict":[NaN,NaN]}
{"c1":"映射","c2":"图","ground_truth":1}
{"c1":"映射","c2":"图","ground_truth":1.0}
{"c1":"图","c2":"集合","ground_truth":0,"text_predict":[],"graph_predict":[]}
{"c1":"图","c2":"集合","ground_truth":null}
{"c1":"图","c2":"集合"}
{"c1":"图","c2":"图","ground_truth":1}
{"c1":"三朝","c2":"图","ground_truth":1}
"#;
    let math = "{\"c1\":\"under_score\",\"c2\":\"\\u96c6\\u5408\",\"ground_truth\":1}\n";
    let files = [
        ("entities/user.json", USERS),
        ("entities/course.json", COURSES),
        ("relations/concept-course.txt", concepts),
        ("prerequisites/cs.json", cs),
        ("math.json", math),
    ];
    let (data, report) = Case::new(&files).read(ReadOptions::default());
    let name = |entity: u32| &data.entity_names[entity as usize];
    let relation = data.relation_names.find("prerequisite").unwrap();
    let mut found: Vec<_> =
        data.triples.iter().filter(|t| t[1] == relation).map(|t| (name(t[0]), name(t[2]))).collect();
    found.sort();
    let expected = [
        ("K_图_计算机", "K_映射_计算机"),
        ("K_映射_数学", "K_集合_数学"),
        ("K_映射_计算机", "K_集合_计算机"),
        ("K_集合_数学", "K_under_score_数学"),
    ];
    assert_eq!(found, expected);
    says(&report, "prerequisites/cs.json: 5 of 8 pairs are prerequisites, 2 of them not of two concepts");
    says(&report, "prerequisites/math.json: 1 of 1 pairs are prerequisites, 0 of them");
    assert!(report.missing.contains(&"prerequisites/psy.json".to_string()));
}

#[test]
fn counts_stand_beside_the_published_ones() {
    let (_, report) = whole().read(ReadOptions::default());
    let count = |what: &str| {
        let found = report.counts.iter().find(|c| c.what == what).unwrap();
        (found.found, found.published, found.difference())
    };
    assert_eq!(count("learners in user.json"), (4, 3_330_294, -3_330_290));
    assert_eq!(count("courses in course.json"), (3, 3_781, -3_778));
    // The header is not counted.
    assert_eq!(count("lines of concept-course.txt"), (2, 406_777, -406_775));
    assert_eq!(report.counts.len(), 10);
}

#[test]
fn only_user_json_must_be_there() {
    let (data, report) = Case::new(&[("entities/user.json", USERS)]).read(ReadOptions::default());
    assert_eq!(data.entity_names, ["C_597214", "C_584313", "C_777"]);
    assert!(data.labels.is_empty() && data.triples.is_empty());
    assert_eq!(report.files, ["entities/user.json"]);
    assert_eq!(report.missing.len(), 14, "{:?}", report.missing);
    says(&report, "optional files that are not there: entities/course.json, relations/course-field.json");
    let case = Case::new(&[("entities/course.json", COURSES)]);
    let error = prepare(&PrepareOptions { format: format("mooccubex"), ..case.options() }).unwrap_err();
    assert!(error.to_string().contains("entities/user.json: the file is missing"), "{error}");
}

#[test]
fn files_may_lie_flat() {
    let files = [("user.json", USERS), ("course.json", COURSES), ("user-video.json", WATCHED)];
    let (data, _) = Case::new(&files).read(ReadOptions::default());
    assert_eq!(data.interactions.label_values, [[1, 1, 0, 0, 1]]);
}

#[test]
fn nothing_personal_is_kept() {
    whole().keeps_none_of(&["SECRET", "gender", "year_of_birth", "1987"]);
}

/// Every line here is malformed, in its own way.
const MALFORMED: [(&str, &str); 9] = [
    (r#"{"id":"U_1","course_order":[1,2],"enroll_time":["2020-01-01 00:00:00"]}"#, "2 values, enroll_time 1"),
    (r#"{"id":"U_1","course_order":[1],"enroll_time":["yesterday"]}"#, "'yesterday' is no date"),
    (r#"{"id":"U_1","course_order":[1],"enroll_time":["17"]}"#, "'17' is no date"),
    (r#"{"id":"U_x","course_order":[1],"enroll_time":["2020-01-01 00:00:00"]}"#, "'U_x' is not U_ and a number"),
    (r#"{"id":"U_1","enroll_time":[]}"#, "missing field `course_order`"),
    (r#"{"id":"U_1","course_order":["C_1"],"enroll_time":["2020-01-01 00:00:00"]}"#, "expected u64"),
    (r#"{"id":"U_1","course_order":[-1],"enroll_time":["2020-01-01 00:00:00"]}"#, "expected u64"),
    (r#"{"id":"U_1","course_order":[1],"enroll_ti"#, "EOF while parsing"),
    ("[", "not the expected JSON"),
];

#[test]
fn malformed_lines_are_counted_shown_and_refused_above_a_share() {
    for (line, words) in MALFORMED {
        let case = Case::new(&[("entities/user.json", &format!("{USERS}{line}\n"))]);
        let (path, at, why, remedy) = case.refused(ReadOptions::default());
        assert!(path.ends_with("raw/entities/user.json") && at == Some(6), "{why}");
        assert!(why.starts_with("1 of 5 lines are malformed, more than 0.1 %; the first: "), "{why}");
        assert!(why.contains(words), "'{why}' does not say '{words}'");
        assert!(remedy.contains("--malformed-share"));
        let strict = ReadOptions { strict: true, malformed_share: 1.0, ..Default::default() };
        let (_, at, why, remedy) = case.refused(strict);
        assert!(at == Some(6) && why.contains(words) && !why.contains("more than"), "{why}");
        assert!(remedy.contains("--strict"));
        let (data, report) = case.read(ReadOptions { malformed_share: 0.2, ..Default::default() });
        assert_eq!((data.learners(), report.malformed), (3, 1));
        assert!(report.malformed_first[0].starts_with("entities/user.json:6: "), "{:?}", report.malformed_first);
    }
}

#[test]
fn no_more_than_ten_malformed_lines_are_shown() {
    let users = USERS.to_string() + &"{}\n".repeat(12);
    let case = Case::new(&[("entities/user.json", &users[..]), ("entities/course.json", "no JSON\n")]);
    let report = case.prepare(ReadOptions { malformed_share: 1.0, ..Default::default() }).unwrap();
    assert_eq!((report.source.malformed, report.source.malformed_first.len()), (13, 10));
    assert!(report.source.malformed_first[0].starts_with("entities/course.json:1: "));
    let warnings = report.warnings();
    assert!(warnings.iter().any(|w| w == "13 malformed lines were passed over; the first:"), "{warnings:?}");
    // A thousand good lines make one bad line bearable.
    let many: String = (0..1000)
        .map(|u| format!("{{\"id\":\"U_{u}\",\"course_order\":[1],\"enroll_time\":[\"2020-01-01 00:00:00\"]}}\n"))
        .collect();
    let case = Case::new(&[("entities/user.json", &(many + "{}\n"))]);
    assert_eq!(case.read(ReadOptions::default()).0.learners(), 1000);
}

#[test]
fn malformed_lines_of_every_other_file() {
    let bad = [
        ("entities/course.json", "{\"id\":\"X_1\"}", "'X_1' is not C_ and a number"),
        ("entities/course.json", "{\"id\":\"C_1\"}\n{\"id\":\"C_1\"}", "C_1 is listed twice"),
        ("relations/course-field.json", "{\"course_id\":\"C_1\",\"field\":[]}", "expected u64"),
        ("relations/course-school.txt", "C_1 S_1", "not two columns separated by a tab"),
        ("relations/course-school.txt", "C_1\tS_1\tS_2", "not two columns"),
        ("relations/course-teacher.txt", "T_1\tC_1", "is not an id C_..., a tab and T_..."),
        // No header: one of the columns is an id.
        ("relations/concept-course.txt", "K_a\tcourse", "is not an id K_..., a tab and C_..."),
        ("relations/exercise-problem.txt", "Ex_1\tproblem", "is not Ex_ and a number, a tab, Pm_ and a number"),
        ("relations/user-video.json", "{\"user_id\":\"24\",\"seq\":[]}", "'24' is not U_ and a number"),
        ("relations/user-video.json", "{\"user_id\":\"U_24\"}", "missing field `seq`"),
        (
            "relations/user-video.json",
            "{\"user_id\":\"U_24\",\"seq\":[{\"video_id\":\"V_1\"}]}",
            "missing field `segment`",
        ),
        ("relations/user-problem.json", "{\"user_id\":\"U_24\",\"problem_id\":null}", "expected a borrowed string"),
        ("entities/school.json", "{\"id\":\"T_1\",\"name\":\"x\"}", "'T_1' does not begin with S_"),
        ("prerequisites/cs.json", "{\"c1\":\"x\",\"ground_truth\":1}", "missing field `c2`"),
        ("prerequisites/psy.json", "{\"c1\":\"x\",\"c2\":\"y\",\"ground_truth\":\"1\"}", "expected f64"),
    ];
    for (file, text, words) in bad {
        let case = whole();
        case.write(file, text.as_bytes());
        let (path, line, why, _) = case.refused(ReadOptions::default());
        assert!(path.ends_with(file) && line == Some(text.lines().count() as u64), "{why}");
        assert!(why.contains(words), "'{why}' does not say '{words}'");
    }
}

#[test]
fn learners_without_any_enrolment_are_refused() {
    let (.., why, _) = Case::new(&[("user.json", "{\"id\":\"U_1\",\"course_order\":[],\"enroll_time\":[]}\n")])
        .refused(ReadOptions::default());
    assert_eq!(why, "no learner has an enrolment");
}

#[test]
fn shares_out_of_range_are_refused() {
    let malformed = ReadOptions { malformed_share: -0.1, ..Default::default() };
    for bad in [share(0.0), share(1.5), share(f64::NAN), malformed] {
        assert_eq!(whole().prepare(bad).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn any_split_can_be_asked_for() {
    let case = whole();
    let split = Some(waata_data::split::SplitPolicy::Last);
    prepare(&PrepareOptions { split, ..case.options() }).unwrap();
    // Nobody here has three enrolments.
    assert!(Dataset::open(&case.out()).unwrap().interactions.split.iter().all(|&s| s == Split::Train));
}
