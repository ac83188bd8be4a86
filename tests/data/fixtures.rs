//! A small sound source of every format. They are cut off and changed at every byte in `bad_input`.

/// The name of a format, and its files.
pub type Fixture = (&'static str, &'static [(&'static str, &'static str)]);

pub const FIXTURES: &[Fixture] = &[
    (
        "interchange",
        &[
            ("interactions.csv", "learner,course,time,split,done\n0,0,2020-01-01,train,1\n1,1,2020-01-02,test,0\n"),
            ("triples.csv", "head,relation,tail\n0,0,2\n1,0,2\n"),
            ("entities.csv", "entity,name\n2,\"x \"\"y\"\"\"\n"),
        ],
    ),
    ("kgat", &[("train.txt", "0 0 1\n1 2\n"), ("test.txt", "0 2\n"), ("kg_final.txt", "0 0 3\n1 0 4\n")]),
    (
        "table",
        &[
            ("log.tsv", "who\twhat\na\tb\nc\td\n"),
            ("map.toml", "[interactions]\nfiles = \"log.tsv\"\nids = \"text\"\nlearner = \"who\"\ncourse = \"what\"\n"),
        ],
    ),
    (
        "mooccubex",
        &[
            ("user.json", r#"{"id":"U_1","name":"","course_order":[5],"enroll_time":["2020-01-01 00:00:00"]}"#),
            (
                "course.json",
                r#"{"id":"C_5","name":"a","field":["f"],"resource":[{"resource_id":"V_1"},{"resource_id":"Ex_1"}]}"#,
            ),
            ("course-field.json", r#"{"course_id":5,"field":["g"]}"#),
            ("course-school.txt", "C_5\tS_1\n"),
            ("school.json", r#"{"id":"S_1","name":"s"}"#),
            (
                "user-video.json",
                r#"{"user_id":"U_1","seq":[{"video_id":"V_1","segment":[{"start_point":1,"end_point":2.5}]}]}"#,
            ),
            ("concept-course.txt", "K_a_m\tC_5\nK_b_m\tC_5\n"),
            ("cs.json", r#"{"c1":"a","c2":"b","ground_truth":1}"#),
            ("exercise-problem.txt", "Ex_1\tPm_1\n"),
            ("user-problem.json", r#"{"log_id":"1_1","problem_id":"Pm_1","user_id":"U_1"}"#),
        ],
    ),
    (
        "mooccube",
        &[
            ("user-course.json", "U_1\tC_a\n"),
            ("user.json", r#"{"id":"U_1","course_order":["C_a"],"enroll_time":["2020-01-01 00:00:00"]}"#),
            ("course.json", r#"{"id":"C_a","name":"a","video_order":["V_a"]}"#),
            ("school-course.json", "S_1\tC_a\n"),
            ("user-video.json", "U_1\tV_a\n"),
            ("user_video_act.json", r#"{"id":"U_1","activity":[{"video_id":"V_a"}]}"#),
        ],
    ),
    ("oulad", crate::oulad::FILES),
    (
        "person-course",
        &[("person.csv", "course_id,userid_DI,viewed,explored,certified,start_time_DI\nX/a/1,\"u\",1,0,0,12/19/12\n")],
    ),
    ("edx-report", &[("appendix.csv", "Institution,Course Number,Course Subject\nMITx,6.002x,\"Science\"\n")]),
];
