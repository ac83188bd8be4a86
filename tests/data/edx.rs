//! What HarvardX and MITx published: the person-course data in both versions, and the course report, which is refused.

use crate::case::{Case, format};
use waata_data::formats::{ReadOptions, detect};
use waata_data::prepare::{PrepareOptions, prepare};

const COLUMNS: &str = "course_id,userid_DI,registered,viewed,explored,certified,final_cc_cname_DI,LoE_DI,YoB,gender,\
grade,start_time_DI,last_event_DI,nevents,ndays_act,nplay_video,nchapters,nforum_posts,roles";

/// The rows have dates of both forms, blanks and NA among what is not read, and a skipped step (certified only).
fn version(flag: &str, second: &str) -> String {
    format!(
        "{COLUMNS},{flag}\r\n\
         HarvardX/CB22x/2013_Spring,MHxPC130442623,1,0,0,0,Secretland,NA,1987,m,0,12/19/12,11/17/13,,9,,,0,,\r\n\
         {second},MHxPC130442623,1,1,1,1,Secretland,Bachelor's,1987,m,0.9,2012-09-01,,502,16,50,12,0,,\r\n\
         HarvardX/CB22x/2013_Spring,MHxPC130000002,1,1,0,1,\"Secretland, South\",,,,\" \",7/4/13,,,,,,0,,1\r\n\
         HarvardX/CS50x/2012,MHxPC130000002,1,0,0,0,Secretland,,,,,,,,,,,0,,\r\n"
    )
}

#[test]
fn person_course_of_both_universities() {
    let case = Case::new(&[("HMXPC13_DI_v2_5-14-14.csv", &version("inconsistent_flag", "MITx/6.002x/2012_Fall"))]);
    let (data, report) = case.read(ReadOptions::default());
    assert_eq!((report.format.as_str(), report.malformed), ("person-course", 0));
    assert_eq!(data.name, "HMXPC13_DI_v2_5-14-14");
    assert_eq!(data.learner_names, ["MHxPC130442623", "MHxPC130000002"]);
    let courses = ["HarvardX/CB22x/2013_Spring", "MITx/6.002x/2012_Fall", "HarvardX/CS50x/2012"];
    let names: Vec<&str> = data.entity_names.iter().collect();
    assert_eq!(names[..data.courses], courses);
    // In time order; a missing date comes first.
    assert_eq!(data.interactions.course, [1, 0, 2, 0]);
    assert!(data.interactions.has_time);
    assert_eq!(data.labels, ["viewed", "explored", "certified"]);
    assert_eq!(data.interactions.label_values, [[1, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 1]]);
    assert_eq!(data.relation_names, ["institution", "code", "term"]);
    assert_eq!(data.triples.len(), 9);
    assert_eq!(names[3..6], ["institution:HarvardX", "code:CB22x", "term:2013_Spring"]);
    let notes = report.notes.join("\n");
    for words in
        ["1 of 4 rows are flagged", "1 of 4 rows have no start_time_DI and come first", "1 of 4 rows leave out a step"]
    {
        assert!(notes.contains(words), "{notes}");
    }
    let counts: Vec<_> = report.counts.iter().map(|c| (c.found, c.published)).collect();
    assert_eq!(counts, [(4, 641_138), (2, 476_532), (3, 16)]);
}

#[test]
fn person_course_of_harvard_as_a_single_file() {
    let file = "HXPC13_DI_v3_11-13-2019.csv";
    let case =
        Case::new(&[(file, &version("incomplete_flag", "HarvardX/PH207x/2012_Fall")[..]), ("other.csv", "a,b\n")]);
    for source in [case.raw(), case.raw().join(file)] {
        assert_eq!(detect(&source).unwrap().name, "person-course");
        let report = prepare(&PrepareOptions { source, ..case.options() }).unwrap();
        assert_eq!((report.counts.enrolments, report.source.files.join(" ")), (4, file.into()));
        let counts: Vec<_> = report.source.counts.iter().map(|c| (c.what.as_str(), c.published)).collect();
        assert_eq!(counts, [("courses (v3)", 5)]);
    }
}

#[test]
fn nothing_personal_is_kept() {
    let case = Case::new(&[("a.csv", &version("incomplete_flag", "MITx/6.002x/2012_Fall"))]);
    case.keeps_none_of(&["Secretland", "Bachelor", "1987", "gender"]);
}

#[test]
fn two_versions_in_one_folder_are_refused() {
    let text = version("incomplete_flag", "HarvardX/PH207x/2012_Fall");
    let (.., why, remedy) = Case::new(&[("v2.csv", &text), ("v3.csv", &text)]).refused(ReadOptions::default());
    assert!(why.contains("several versions") && why.contains("v2.csv, v3.csv"), "{why}");
    assert!(remedy.contains("name the file"));
}

#[test]
fn malformed_rows() {
    let header = "course_id,userid_DI,viewed,explored,certified,start_time_DI\nHarvardX/A/1,u,1,0,0,2013-01-01\n";
    for (row, words) in [
        ("HarvardX/A/1,v,1,0,0", "5 fields, the header 6"),
        ("HarvardX/A/1,v,1,0,2,2013-01-01", "certified is '2'"),
        ("HarvardX/A/1,v,,0,1,2013-01-01", "viewed is ''"),
        ("HarvardX/A/1,,1,0,1,2013-01-01", "userid_DI is empty"),
        (",v,1,0,1,2013-01-01", "course_id is empty"),
        ("HarvardX/A/1,v,1,0,1,13/13/13", "start_time_DI '13/13/13'"),
        ("HarvardX/A/1,v,1,0,1,1355875200", "start_time_DI '1355875200'"),
    ] {
        let case = Case::new(&[("p.csv", &format!("{header}{row}\n"))]);
        let (path, line, why, _) = case.refused(ReadOptions::default());
        assert!(path.ends_with("raw/p.csv") && line == Some(3), "{why}");
        assert!(why.contains(words), "'{why}' does not say '{words}'");
        let report = case.prepare(ReadOptions { malformed_share: 0.5, ..Default::default() }).unwrap();
        assert_eq!((report.counts.enrolments, report.source.malformed), (1, 1));
        assert!(report.source.malformed_first[0].starts_with("p.csv:3: "));
    }
    let (.., why, _) = Case::new(&[("p.csv", header.lines().next().unwrap())]).refused(ReadOptions::default());
    assert_eq!(why, "the file has no rows");
}

#[test]
fn the_course_report_has_no_learners() {
    let header = "Institution,Course Number,Launch Date,Course Title,Instructors,Course Subject,Year\n";
    let renamed = "institution,course_number,launch_date,course_title,instructors,course_subject,year\n";
    let row = "MITx,6.002x,9/5/2012,Circuits,Khurram Afridi,\"Science, Technology\",1\n";
    for header in [header, renamed] {
        let case = Case::new(&[("appendix.csv", &format!("{header}{row}"))]);
        assert_eq!(detect(&case.raw()).unwrap().name, "edx-report");
        let (path, line, why, remedy) = case.refused(ReadOptions::default());
        assert!(path.ends_with("appendix.csv") && line.is_none());
        assert!(why.contains("no learners") && why.contains("good for"), "{why}");
        assert!(remedy.contains("--format person-course"), "{remedy}");
    }
}

#[test]
fn formats_that_are_not_there() {
    let case = Case::new(&[("x.csv", "a,b\n1,2\n")]);
    for (name, words) in [
        ("person-course", "no csv file with the columns course_id"),
        ("edx-report", "no csv file with the columns Institution"),
        ("mooccubex", "user.json"),
    ] {
        let error = prepare(&PrepareOptions { format: format(name), ..case.options() }).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains(words), "{error}");
    }
    assert!(detect(&case.raw().join("x.csv")).is_err());
}
