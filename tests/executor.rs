//! The host executor (tests/host) runs kernels as a card would.

use waata::engine::device::kernels;
use waata::engine::random::{philox4x32, to_unit};
use waata_host::{Launch, Order, launch};

const ORDERS: [Order; 4] = [Order::Forward, Order::Reverse, Order::Shuffle(1), Order::Shuffle(2)];

/// The bytes of a scalar argument.
fn scalar<T: bytemuck::NoUninit>(value: &T) -> &[u8] {
    bytemuck::bytes_of(value)
}

/// The address of an array, as the bytes that a pointer parameter takes.
fn input<T>(values: &[T]) -> [u8; 8] {
    (values.as_ptr() as u64).to_ne_bytes()
}

fn output<T>(values: &mut [T]) -> [u8; 8] {
    (values.as_mut_ptr() as u64).to_ne_bytes()
}

fn one_dimensional(kernel: &str, grid: u32, block: u32, order: Order) -> Launch<'_> {
    Launch {
        kernel,
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        shared_bytes: 0,
        order,
        host_memory: true,
        barriers: None,
        end_blocks: None,
    }
}

/// Runs a kernel whose pointers are known to hold what this grid touches.
fn run(config: &Launch, arguments: &[&[u8]]) -> Result<(), String> {
    // SAFETY: every test below sizes its arrays for its grid.
    unsafe { launch(config, arguments) }
}

#[test]
fn executor_and_crate_see_the_same_kernels() {
    assert_eq!(waata_host::kernels(), kernels::ALL.iter().map(|kernel| kernel.name).collect::<Vec<_>>());
    for (index, kernel) in kernels::ALL.iter().enumerate() {
        assert_eq!(kernel.index, index);
        assert!(kernel.module < kernels::MODULES.len());
        assert_eq!(waata_host::parameters(kernel.name).map(|sizes| sizes.len()), Some(kernel.parameters.len()));
    }
    if let Some(fatbins) = kernels::FATBINS {
        assert_eq!(fatbins.len(), kernels::MODULES.len());
        assert!(fatbins.iter().all(|fatbin| (fatbin.as_ptr() as usize).is_multiple_of(16) && !fatbin.is_empty()));
    }
}

#[test]
fn gather_copies_rows_of_any_width_and_alignment() {
    for (rows, d, offset) in
        [(1usize, 1usize, 0usize), (37, 5, 0), (200, 64, 0), (200, 64, 1), (9, 132, 0), (70, 300, 3)]
    {
        let count = 50;
        // 16-byte aligned, then shifted by `offset` floats.
        let mut storage = vec![[0f32; 4]; (count * d + offset).div_ceil(4) + 1];
        let table = &mut storage.as_flattened_mut()[offset..offset + count * d];
        table.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
        let ids: Vec<u32> = (0..rows as u32).map(|i| i * 31 % count as u32).collect();
        for order in ORDERS {
            let mut out = vec![[f32::NAN; 4]; (rows * d).div_ceil(4)];
            run(
                &one_dimensional(kernels::GATHER_FWD.name, 3, 256, order),
                &[
                    &input(table),
                    &input(&ids),
                    &output(out.as_flattened_mut()),
                    scalar(&(rows as u64)),
                    scalar(&(d as u32)),
                ],
            )
            .unwrap();
            for (row, &id) in ids.iter().enumerate() {
                let expected = &table[id as usize * d..][..d];
                assert_eq!(&out.as_flattened()[row * d..][..d], expected, "row {row}, d = {d}, {order:?}");
            }
        }
    }
}

#[test]
fn philox_of_the_kernels_is_philox_of_the_cpu() {
    for (key, counter) in [
        ([0; 2], [0; 4]),
        ([!0; 2], [!0; 4]),
        ([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
    ] {
        let (mut numbers, mut uniform) = ([0u32; 4], [f32::NAN; 4]);
        run(
            &one_dimensional("probe_philox", 1, 1, Order::Forward),
            &[scalar(&key), scalar(&counter), &output(&mut numbers), &output(&mut uniform)],
        )
        .unwrap();
        assert_eq!(numbers, philox4x32(key, counter));
        assert_eq!(uniform, numbers.map(to_unit));
    }
}

#[test]
fn shared_memory_and_block_sums() {
    for threads in [32usize, 64, 1024] {
        let x: Vec<f32> = (0..3 * threads).map(|i| (i % 17) as f32 - 5.0).collect();
        for order in ORDERS {
            let (mut reversed, mut sums) = (vec![f32::NAN; x.len()], [f32::NAN; 6]);
            let config =
                Launch { shared_bytes: 4 * threads as u32, ..one_dimensional("probe_block", 3, threads as u32, order) };
            run(&config, &[&input(&x), &output(&mut reversed), &output(&mut sums)]).unwrap();
            for (block, part) in x.chunks(threads).enumerate() {
                assert!(part.iter().rev().eq(&reversed[block * threads..][..threads]));
                assert_eq!(sums[2 * block], part.iter().sum::<f32>());
                assert_eq!(sums[2 * block + 1], part.iter().map(|x| x * x).sum::<f32>());
            }
        }
    }
}

#[test]
fn warp_collectives_follow_cuda() {
    let x: Vec<i32> = (0..32).map(|lane| 3 * lane - 40).collect();
    let at = |lane: usize| x[lane] as i64;
    let ballot = |holds: &dyn Fn(i32) -> bool| (0..32).map(|l| (holds(x[l]) as i64) << l).sum::<i64>();
    let expected = |row: usize, lane: usize| match row {
        0 => at(5),
        1 => at(lane / 8 * 8 + 1),
        2 => at(if lane < 3 { lane } else { lane - 3 }),
        3 => at(if lane % 16 + 3 < 16 { lane + 3 } else { lane }),
        4 => at(lane ^ 9),
        5 => ballot(&|v| v > 0),
        6 => {
            x.contains(&2) as i64 + if lane < 16 { 2 * x[..16].iter().filter(|&&v| v > -30).count() as i64 } else { 0 }
        }
        7 => 1,
        8 => x.iter().sum::<i32>() as i64,
        9 => -40,
        10 => at(31) * 10_000_000_000,
        _ => ballot(&|v| v / 30 == x[lane] / 30),
    };
    for order in ORDERS {
        let mut out = vec![i64::MIN; 12 * 32];
        run(&one_dimensional("probe_warp", 1, 32, order), &[&input(&x), &output(&mut out)]).unwrap();
        for (i, &got) in out.iter().enumerate() {
            assert_eq!(got, expected(i / 32, i % 32), "result {}, lane {}, {order:?}", i / 32, i % 32);
        }
    }
}

#[test]
fn every_thread_of_every_block_runs_once() {
    let (grid, block) = ([3u32, 5, 2], [4u32, 3, 7]);
    let (blocks, threads) = (30u32, 84u32);
    for order in ORDERS {
        let mut out = vec![0u32; (blocks * threads) as usize];
        run(
            &Launch {
                kernel: "probe_indices",
                grid,
                block,
                shared_bytes: 0,
                order,
                host_memory: true,
                barriers: None,
                end_blocks: None,
            },
            &[&output(&mut out)],
        )
        .unwrap();
        let expected = (0..blocks * threads).map(|i| 1000 * (i / threads) + i % threads);
        assert!(out.iter().copied().eq(expected), "{order:?}");
    }
}

#[test]
fn launches_from_several_threads_do_not_meet() {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let x = vec![seed as f32; 256];
                for round in 0..20 {
                    let (mut reversed, mut sums) = ([f32::NAN; 256], [f32::NAN; 2]);
                    let config = Launch {
                        shared_bytes: 1024,
                        ..one_dimensional("probe_block", 1, 256, Order::Shuffle(seed + round))
                    };
                    run(&config, &[&input(&x), &output(&mut reversed), &output(&mut sums)]).unwrap();
                    assert_eq!((reversed[17], sums[0]), (seed as f32, 256.0 * seed as f32));
                }
            });
        }
    });
}

#[test]
fn bfloat16_rounds_to_nearest_even() {
    let exact = |bits: u32| f32::from_bits(bits << 16);
    // Ties of an even and an odd mantissa, just above a tie, overflow to infinity, the least subnormal.
    let cases = [0x3f80_8000u32, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 0x0000_8001, 0x8000_0000];
    let expected = [0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x0001, 0x8000].map(exact);
    let x = cases.map(f32::from_bits);
    let mut out = [f32::NAN; 6];
    run(&one_dimensional("probe_bfloat16", 1, 6, Order::Forward), &[&input(&x), &output(&mut out)]).unwrap();
    assert_eq!(out.map(f32::to_bits), expected.map(f32::to_bits));
    run(&one_dimensional("probe_bfloat16", 1, 1, Order::Forward), &[&input(&[f32::NAN]), &output(&mut out)]).unwrap();
    assert!(out[0].is_nan());
}
