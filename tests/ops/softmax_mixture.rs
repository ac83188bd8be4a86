use waata::ops::SoftmaxMixture;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    // Nine and forty experts take more than one launch, and forty more than one round of a warp.
    for (n, experts, d) in [(0, 2, 3), (1, 1, 1), (5, 2, 7), (33, 9, 40), (3, 40, 2)] {
        let case = Case::new(format!("{experts} experts {n}x{d}"), |_| SoftmaxMixture::default()).input(n, experts);
        cases.push((0..experts).fold(case, |case, _| case.input(n, d)));
    }
    // Several gates over the same experts; nine tasks take two launches.
    for (n, tasks, experts, d) in [(6, 3, 4, 7), (35, 2, 3, 64), (4, 9, 10, 5)] {
        let case = Case::new(format!("{tasks} tasks, {experts} experts {n}x{d}"), move |_| SoftmaxMixture::new(tasks));
        let case = (0..tasks).fold(case, |case, _| case.input(n, experts));
        cases.push((0..experts).fold(case, |case, _| case.input(n, d)));
    }
    let logits = vec![90.0, -90.0, 0.0, -500.0, -500.0, -501.0];
    let case = Case::new("large logits", |_| SoftmaxMixture::default()).input_of(2, 3, logits);
    cases.push((0..3).fold(case, |case, _| case.input(2, 4)));
    cases
}

crate::op_tests!(cases);
