//! MOOCCube as published, in small: JSON lines of entities, and tables in files that are named *.json.

use crate::case::Case;
use base::Error;
use waata_data::formats::{ReadOptions, detect};

const FILES: [(&str, &str); 11] = [
    (
        "entities/user.json",
        r#"{"id":"U_5","name":"SECRET","course_order":["C_course-v1:X+1+sp","C_course-v1:Y+2"],"enroll_time":["2018-07-01 00:00:00","2018-06-30 16:35:49"]}
{"id":"U_6","name":"SECRET","course_order":["C_course-v1:X+1+sp"],"enroll_time":["2019-04-05 21:32:42"]}
{"id":"U_7","name":"SECRET","course_order":[],"enroll_time":[]}
"#,
    ),
    (
        "entities/course.json",
        r#"{"id":"C_course-v1:X+1+sp","name":"文物","prerequisites":"无","about":"<p>","core_id":"C_course-v1:X+1+sp","video_order":["V_a","V_b"],"display_name":["1","2"],"chapter":["1","1"]}
"#,
    ),
    ("relations/user-course.json", "U_5\tC_course-v1:X+1+sp\n"),
    ("relations/user-video.json", "U_5\tV_a\r\nU_5\tV_a\r\nU_5\tV_x\r\nU_9\tV_a\r\n"),
    (
        "additional_information/user_video_act.json",
        r#"{"id":"U_6","activity":[{"course_id":"C_course-v1:X+1+sp","video_id":"V_a","watching_count":3,"video_duration":351.0},{"course_id":"C_course-v1:X+1+sp","video_id":"V_b","watching_count":1,"video_duration":3.5}]}
"#,
    ),
    ("relations/school-course.json", "S_X\tC_course-v1:X+1+sp\nS_X\tC_course-v1:Z+9\n"),
    ("relations/teacher-course.json", "T_1\tC_course-v1:X+1+sp\n"),
    ("relations/course-concept.json", "C_course-v1:Y+2\tK_考古_历史学\n"),
    ("entities/school.json", "{\"id\":\"S_X\",\"name\":\"X大学\",\"about\":\"\"}\n"),
    ("entities/teacher.json", "{\"id\":\"T_1\",\"name\":\"Wang\",\"about\":\"\"}\n"),
    ("entities/concept.json", "{\"id\":\"K_考古_历史学\",\"name\":\"考古\",\"en\":\"\",\"explanation\":\"\"}\n"),
];

fn share(completed_share: Option<f64>) -> ReadOptions {
    ReadOptions { completed_share, ..Default::default() }
}

#[test]
fn enrolments_label_and_graph() {
    let case = Case::new(&FILES);
    assert_eq!(detect(&case.raw()).unwrap().name, "mooccube");
    for (threshold, labels) in [(None, [0, 1, 1]), (Some(0.6), [0, 0, 1])] {
        let (data, report) = case.read(share(threshold));
        assert_eq!((report.format.as_str(), report.missing.len()), ("mooccube", 0));
        assert_eq!(data.learner_names, ["U_5", "U_6"]);
        let names = ["C_course-v1:X+1+sp 文物", "C_course-v1:Y+2", "S_X X大学", "T_1 Wang", "K_考古_历史学"];
        assert_eq!((data.courses, &data.entity_names), (2, &names.iter().collect()));
        assert_eq!(data.interactions.course, [1, 0, 0]);
        assert_eq!(data.interactions.label_values, [labels]);
        assert_eq!(data.relation_names, ["school", "teacher", "concept"]);
        assert_eq!(data.triples, [[0, 0, 2], [0, 1, 3], [1, 2, 4]]);
        let notes = report.notes.join("\n");
        for words in [
            "1 learners have no enrolment",
            "1 courses have enrolments but no line in course.json",
            "school-course.json: 1 lines name a course that neither",
            "of 4 videos watched, 0 belong to courses that the learner is not enrolled in, 1 to no course, and 1 to",
        ] {
            assert!(notes.contains(words), "{notes}");
        }
    }
}

#[test]
fn nothing_personal_is_kept() {
    Case::new(&FILES).keeps_none_of(&["SECRET"]);
}

#[test]
fn the_least_and_what_is_malformed() {
    // With its mark: user.json alone could be MOOCCubeX's.
    let case = Case::new(&[FILES[0], FILES[2]]);
    let report = case.prepare(share(None)).unwrap();
    assert_eq!((report.counts.courses, report.counts.labels.len(), report.counts.triples), (2, 0, 0));
    let bad = [
        (
            "entities/user.json",
            "{\"id\":\"U_1\",\"course_order\":[597214],\"enroll_time\":[\"x\"]}",
            "expected a string",
        ),
        ("entities/user.json", "{\"id\":\"U_1\",\"course_order\":[\"C_a\"],\"enroll_time\":[]}", "enroll_time 0"),
        (
            "entities/user.json",
            "{\"id\":\"U_1\",\"course_order\":[\"a\"],\"enroll_time\":[\"2018-06-30\"]}",
            "'a' does not begin with C_",
        ),
        ("entities/course.json", "{\"id\":\"C_a\"}\n{\"id\":\"C_a\"}", "C_a is listed twice"),
        ("relations/user-video.json", "V_a\tU_5", "'V_a' does not begin with U_"),
        ("relations/course-concept.json", "{\"id\":\"K_a\"}", "not two columns separated by a tab"),
        ("additional_information/user_video_act.json", "{\"id\":\"U_5\"}", "missing field `activity`"),
    ];
    for (file, text, words) in bad {
        let case = Case::new(&FILES);
        case.write(file, text.as_bytes());
        let error = case.prepare(share(None)).unwrap_err();
        assert!(matches!(&error, Error::Data { path, line: Some(_), .. } if path.ends_with(file)), "{error}");
        assert!(error.to_string().contains(words), "'{error}' does not say '{words}'");
    }
}
