use waata::ops::ScaleRows;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let case = |rows, cols, power| {
        Case::new(format!("{rows}x{cols} ^{power}"), move |_| ScaleRows { power }).input(rows, cols).input(rows, 1)
    };
    vec![case(0, 4, 0.5), case(1, 1, 0.5), case(7, 5, 1.0), case(40, 64, 0.25), case(33, 70, 0.0)]
}

crate::op_tests!(cases);
