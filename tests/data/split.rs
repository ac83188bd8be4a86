//! Splits: sizes, determinism, time order, and no leak from one part to another.

use std::collections::HashSet;
use waata_data::split::{Ratios, SplitPolicy, assign};
use waata_data::{Dataset, Split, synth};

fn data() -> Dataset {
    synth::generate(500, 60, 4_003, 11).unwrap()
}

fn split(policy: SplitPolicy, seed: u64) -> Dataset {
    let mut data = data();
    assign(&mut data, policy, false, seed).unwrap();
    data.validate().unwrap();
    data
}

#[test]
fn random_has_the_exact_sizes_and_depends_on_the_seed_alone() {
    let policy = SplitPolicy::Random { ratios: Ratios::default(), per_learner: false };
    let a = split(policy, 1);
    assert_eq!(a.split_counts(), [2_402, 800, 801]);
    assert_eq!(a, split(policy, 1));
    assert_ne!(a.fingerprint(), split(policy, 2).fingerprint());
    // Test rows are spread evenly: halves of the file have about equal shares.
    let half = a.enrolments() / 2;
    let early = a.interactions.split[..half].iter().filter(|s| **s == Split::Test).count();
    assert!(early.abs_diff(400) < 80, "{early}");
}

#[test]
fn random_per_learner_leaves_everyone_a_train_row() {
    let policy = SplitPolicy::Random { ratios: Ratios::new(10.0, 45.0, 45.0).unwrap(), per_learner: true };
    let a = split(policy, 1);
    assert_eq!(a, split(policy, 1));
    for u in 0..a.learners() {
        let [train, rows] = [a.courses_in(u, &[Split::Train]).count(), a.rows(u).len()];
        assert!(train >= 1 && train.abs_diff(rows / 10) <= 1, "{train} of {rows}");
    }
}

#[test]
fn chronological_never_trains_on_what_comes_after() {
    let a = split(SplitPolicy::Chronological { ratios: Ratios::default() }, 1);
    for u in 0..a.learners() {
        assert!(a.interactions.split[a.rows(u)].is_sorted());
        assert_eq!(a.interactions.split[a.rows(u).start], Split::Train);
    }
}

#[test]
fn last_holds_out_the_last_two() {
    let a = split(SplitPolicy::Last, 1);
    for u in 0..a.learners() {
        let parts = &a.interactions.split[a.rows(u)];
        match parts.len() {
            0..3 => assert!(parts.iter().all(|&s| s == Split::Train)),
            n => {
                assert_eq!(parts[n - 2..], [Split::Valid, Split::Test]);
                assert!(parts[..n - 2].iter().all(|&s| s == Split::Train));
            }
        }
    }
}

#[test]
fn parts_are_disjoint_and_complete() {
    let ratios = Ratios::default();
    for policy in [
        SplitPolicy::Random { ratios, per_learner: false },
        SplitPolicy::Random { ratios, per_learner: true },
        SplitPolicy::Chronological { ratios },
        SplitPolicy::Last,
    ] {
        let a = split(policy, 3);
        assert_eq!(a.split_counts().iter().sum::<u64>(), 4_003, "{policy}");
        let pairs =
            |part| -> HashSet<(u32, u32)> { a.rows_in(part).map(|(u, row)| (u, a.interactions.course[row])).collect() };
        let [train, valid, test] = Split::ALL.map(pairs);
        assert_eq!(train.len() + valid.len() + test.len(), 4_003);
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
        let lists = a.course_lists(&[Split::Train, Split::Valid]);
        for u in 0..a.learners() {
            assert!(lists.of(u).is_sorted());
            assert!(a.courses_in(u, &[Split::Test]).all(|c| lists.of(u).binary_search(&c).is_err()));
        }
    }
}

#[test]
fn ratios() {
    assert_eq!("60/20/20".parse::<Ratios>().unwrap(), Ratios::new(0.6, 0.2, 0.2).unwrap());
    assert_eq!("8,1,1".parse::<Ratios>().unwrap().to_string(), "0.8/0.1/0.1");
    for n in 0..50 {
        assert_eq!(Ratios::default().counts(n).iter().sum::<usize>(), n);
    }
    for bad in ["", "1/2", "0/1/1", "-1/1/1", "NaN/1/1", "inf/1/1", "a/b/c", "1/1/1/1"] {
        assert_eq!(bad.parse::<Ratios>().unwrap_err().exit_code(), 2, "{bad}");
    }
}
