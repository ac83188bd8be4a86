//! OULAD as published: seven csv files, of which one must be there.

use crate::case::Case;
use base::Error;
use std::path::Path;
use waata_data::formats::{ReadOptions, detect};
use waata_data::{Dataset, Split};

/// In the exact format, quotes included: they are in all files but the submissions.
pub const FILES: &[(&str, &str)] = &[
    (
        "courses.csv",
        "\"code_module\",\"code_presentation\",\"module_presentation_length\"\r\n\
         \"AAA\",\"2013J\",\"268\"\r\n\"AAA\",\"2014J\",\"269\"\r\n\"BBB\",\"2014B\",\"234\"\r\n\"BBB\",\"2013B\",\"240\"\r\n",
    ),
    (
        "studentInfo.csv",
        "\"code_module\",\"code_presentation\",\"id_student\",\"gender\",\"region\",\"highest_education\",\"imd_band\",\
         \"age_band\",\"num_of_prev_attempts\",\"studied_credits\",\"disability\",\"final_result\"\r\n\
         \"AAA\",\"2014J\",\"11391\",\"M\",\"Secretland\",\"HE Qualification\",\"90-100%\",\"55<=\",\"0\",\"240\",\"N\",\"Pass\"\r\n\
         \"AAA\",\"2013J\",\"11391\",\"M\",\"Secretland\",\"HE Qualification\",\"90-100%\",\"55<=\",\"0\",\"240\",\"N\",\"Withdrawn\"\r\n\
         \"BBB\",\"2014B\",\"11391\",\"M\",\"Secretland\",\"HE Qualification\",\"90-100%\",\"55<=\",\"0\",\"240\",\"N\",\"Fail\"\r\n\
         \"BBB\",\"2014B\",\"28400\",\"F\",\"Secretland, South\",\"\",\"\",\"35-55\",\"0\",\"60\",\"Y\",\"Distinction\"\r\n",
    ),
    (
        "studentRegistration.csv",
        "\"code_module\",\"code_presentation\",\"id_student\",\"date_registration\",\"date_unregistration\"\r\n\
         \"AAA\",\"2013J\",\"11391\",\"-159\",\"12\"\r\n\"AAA\",\"2014J\",\"11391\",\"\",\"\"\r\n\
         \"BBB\",\"2014B\",\"11391\",\"3\",\"\"\r\n\"BBB\",\"2014B\",\"28400\",\"-53\",\"\"\r\n\"BBB\",\"2014B\",\"1\",\"-53\",\"\"\r\n",
    ),
    (
        "assessments.csv",
        "\"code_module\",\"code_presentation\",\"id_assessment\",\"assessment_type\",\"date\",\"weight\"\r\n\
         \"AAA\",\"2013J\",\"1752\",\"TMA\",\"19\",\"10\"\r\n\"AAA\",\"2013J\",\"1753\",\"TMA\",\"54\",\"20\"\r\n\
         \"BBB\",\"2014B\",\"1754\",\"Exam\",\"\",\"100\"\r\n",
    ),
    (
        "studentAssessment.csv",
        "id_assessment,id_student,date_submitted,is_banked,score\n1752,11391,18,0,78\n1753,11391,22,0,\n\
         1754,28400,22,0,70\n1752,28400,22,0,70\n",
    ),
    (
        "vle.csv",
        "\"id_site\",\"code_module\",\"code_presentation\",\"activity_type\",\"week_from\",\"week_to\"\r\n\
         \"546943\",\"AAA\",\"2013J\",\"resource\",\"\",\"\"\r\n\"546944\",\"AAA\",\"2014J\",\"resource\",\"1\",\"2\"\r\n",
    ),
];

fn names(data: &Dataset, relation: &str) -> Vec<String> {
    let number = data.relation_names.find(relation).unwrap();
    let of = |entity: u32| data.entity_names[entity as usize].to_string();
    let own = data.triples.iter().filter(|t| t[1] == number);
    own.map(|&[head, _, tail]| format!("{} {}", of(head), of(tail))).collect()
}

#[test]
fn enrolments_behaviours_and_graph() {
    let case = Case::new(FILES);
    assert_eq!(detect(&case.raw()).unwrap().name, "oulad");
    let (data, report) = case.read(ReadOptions::default());
    assert_eq!((report.format.as_str(), report.malformed), ("oulad", 0));
    assert_eq!((data.learners(), data.courses), (2, 4));
    assert_eq!(data.labels, ["engaged", "completed"]);
    let i = &data.interactions;
    // 11391: AAA_2014J without a date first, then October 2013 and February 2014.
    let courses: Vec<&str> = i.course.iter().map(|&c| &data.entity_names[c as usize][..]).collect();
    assert_eq!(courses, ["AAA_2014J", "AAA_2013J", "BBB_2014B", "BBB_2014B"]);
    assert_eq!(i.label_values[0][..], [0, 1, 0, 1]);
    assert_eq!(i.label_values[1][..], [1, 0, 0, 1]);
    assert!(i.has_time);
    assert_eq!(names(&data, "module").len(), 4);
    assert_eq!(names(&data, "start_month")[2..], ["BBB_2014B start:B", "BBB_2013B start:B"]);
    assert_eq!(names(&data, "year")[0], "AAA_2013J year:2013");
    assert_eq!(
        names(&data, "length"),
        ["AAA_2013J length:260", "AAA_2014J length:260", "BBB_2014B length:230", "BBB_2013B length:240"]
    );
    assert_eq!(names(&data, "assessment_type"), ["AAA_2013J assessment:TMA", "BBB_2014B assessment:Exam"]);
    assert_eq!(names(&data, "activity_type"), ["AAA_2013J activity:resource", "AAA_2014J activity:resource"]);
    assert_eq!(names(&data, "previous_presentation"), ["AAA_2014J AAA_2013J", "BBB_2014B BBB_2013B"]);
    let notes = report.notes.join("\n");
    for words in [
        "studentRegistration.csv: 1 rows name no enrolment",
        "studentAssessment.csv: 1 rows name no enrolment",
        "1 of 4 enrolments have no date",
    ] {
        assert!(notes.contains(words), "{notes}");
    }
    let count = |what: &str| report.counts.iter().find(|c| c.what == what).unwrap().clone();
    assert_eq!((count("enrolments").found, count("enrolments").published), (4, 32_593));
    assert_eq!((count("submissions").found, count("submissions").published), (4, 173_912));
}

#[test]
fn students_alone_are_enough() {
    let case = Case::new(&FILES[1..2]);
    let (data, report) = case.read(ReadOptions::default());
    assert_eq!((data.courses, data.enrolments(), data.labels.join(" ")), (3, 4, "completed".into()));
    assert!(!data.interactions.has_time);
    assert_eq!(report.missing.len(), 5);
    assert!(report.notes.join("\n").contains("optional files that are not there: courses.csv"));
    assert!((0..4).all(|row| Split::ALL.contains(&data.interactions.split[row])));
}

#[test]
fn nothing_personal_is_kept() {
    let case = Case::new(FILES);
    case.keeps_none_of(&["Secretland", "HE Qualification", "90-100%", "55<="]);
}

#[test]
fn malformed_rows() {
    for (file, from, to, words) in [
        ("studentInfo.csv", "\"Withdrawn\"", "\"Gone\"", "there is no final_result 'Gone'"),
        ("studentInfo.csv", "\"11391\",\"M\"", "\"x\",\"M\"", "the id 'x'"),
        ("studentInfo.csv", ",\"Withdrawn\"", "", "11 fields, the header 12"),
        ("studentInfo.csv", "\"2013J\"", "\"2013K\"", "code_presentation '2013K' is not a year and B or J"),
        ("courses.csv", "\"268\"", "\"\"", "the length '' is no number of days"),
        ("studentRegistration.csv", "\"-159\"", "\"soon\"", "date_registration 'soon' is no number"),
        ("studentAssessment.csv", "1752,", "TMA,", "the id 'TMA'"),
        ("vle.csv", "\"resource\"", "\"\"", "activity_type is empty"),
        ("assessments.csv", "\"assessment_type\"", "\"type\"", "the column 'assessment_type' is missing"),
    ] {
        let case = Case::new(FILES);
        let text = FILES.iter().find(|(name, _)| *name == file).unwrap().1.replacen(from, to, 1);
        case.write(file, text.as_bytes());
        let error = case.prepare(ReadOptions::default()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let Error::Data { path, line, why, .. } = error else { panic!("{error}") };
        assert!(path.ends_with(Path::new("raw").join(file)) && line.is_some(), "{path:?} {line:?}");
        assert!(why.contains(words), "'{why}' does not say '{words}'");
        assert!(!case.out().exists());
    }
}
