//! The host executor finds what is wrong with a kernel, by file and line: kernels with planted faults
//! (tests/host/faults/planted.cu). Faults that show in results alone are in tests/ops/planted.rs.

use waata::engine::device::kernels;
use waata_host::{Launch, Order, allocate, free, launch, upload};

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
    let (grid, block) = ([grid, 1, 1], [block, 1, 1]);
    Launch { kernel, grid, block, shared_bytes: 0, order, host_memory: true, barriers: None, end_blocks: None }
}

/// Runs a kernel whose pointers hold what this grid touches, but for the planted fault, which the executor stops.
fn run(config: &Launch, arguments: &[&[u8]]) -> Result<(), String> {
    // SAFETY: every test below sizes its arrays for its grid, or gives device memory alone.
    unsafe { launch(config, arguments) }
}

/// Device memory of some floats, written or not.
struct Memory(u64);

impl Memory {
    fn empty(floats: usize) -> Memory {
        Memory(allocate(4 * floats).unwrap())
    }

    fn of(values: &[f32]) -> Memory {
        let memory = Memory::empty(values.len());
        // SAFETY: as long as the values.
        unsafe { upload(memory.0, bytemuck::cast_slice(values)) }.unwrap();
        memory
    }

    fn pointer(&self) -> [u8; 8] {
        self.0.to_ne_bytes()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: of `allocate`; nobody has the address after this.
        unsafe { free(self.0) }
    }
}

/// On device memory alone, in every order of the threads.
#[track_caller]
fn device_fails(kernel: &str, grid: u32, block: u32, arguments: &[&[u8]], parts: &[&str]) {
    for order in ORDERS {
        let config = Launch { host_memory: false, ..one_dimensional(kernel, grid, block, order) };
        assert_fails(run(&config, arguments), parts);
    }
}

#[track_caller]
fn assert_fails(result: Result<(), String>, parts: &[&str]) {
    let message = result.expect_err("the fault went unnoticed");
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

/// The line of planted.cu with this text, as a message names it.
fn line(text: &str) -> String {
    let source = std::fs::read_to_string("tests/host/faults/planted.cu").unwrap();
    let number = source.lines().position(|line| line.contains(text)).unwrap() + 1;
    format!("planted.cu:{number}")
}

#[test]
fn accesses_out_of_bounds() {
    let (x, out) = (Memory::of(&[1.0; 8]), Memory::empty(4));
    for (at, where_) in [
        (8i64, "at byte 32 of an allocation of 32 bytes"),
        (-1, "4 bytes before an allocation of 32 bytes"),
        (1000, "at byte 4000 of an allocation of 32 bytes"),
        (1 << 33, "no allocation"),
        (-(1 << 45), "which is no device memory"),
    ] {
        let arguments: [&[u8]; 3] = [&x.pointer(), &out.pointer(), scalar(&at)];
        let parts = ["read of 4 bytes out of bounds", where_, &line("out[threadIdx.x] = x[at];")];
        device_fails("fault_read_global", 1, 4, &arguments, &parts);
    }
    let arguments: [&[u8]; 2] = [&out.pointer(), scalar(&4i64)];
    let parts = ["write of 4 bytes out of bounds, at byte 16", &line("out[at] = 1.0f;")];
    device_fails("fault_write_global", 1, 4, &arguments, &parts);
    // In bounds, the same kernels pass.
    let config = Launch { host_memory: false, ..one_dimensional("fault_read_global", 1, 4, Order::Forward) };
    run(&config, &[&x.pointer(), &out.pointer(), scalar(&7i64)]).unwrap();
}

#[test]
fn freed_memory_is_no_memory() {
    let (x, out) = (Memory::of(&[1.0; 8]), Memory::empty(4));
    let address = x.pointer();
    drop(x);
    let arguments: [&[u8]; 3] = [&address, &out.pointer(), scalar(&0i64)];
    device_fails("fault_read_global", 1, 4, &arguments, &["out of bounds", "freed"]);
}

#[test]
fn accesses_behind_dynamic_shared_memory() {
    let out = Memory::empty(1);
    for order in ORDERS {
        let launch = |kernel| Launch { shared_bytes: 64, ..one_dimensional(kernel, 1, 1, order) };
        run(&launch("fault_dynamic_shared"), &[scalar(&15u32)]).unwrap();
        assert_fails(
            run(&launch("fault_dynamic_shared"), &[scalar(&16u32)]),
            &["write behind the 64 bytes of dynamic shared memory", &line("    tile[elements] = 1.0f;")],
        );
        assert_fails(
            run(&launch("fault_read_dynamic_shared"), &[scalar(&16u32), &out.pointer()]),
            &["read behind the 64 bytes of dynamic shared memory", &line("= tile[elements];")],
        );
    }
}

#[test]
fn a_missing_barrier() {
    let (x, out) = (Memory::of(&[1.0; 256]), Memory::empty(256));
    let read = line("tile[blockDim.x - 1 - threadIdx.x]");
    for order in ORDERS {
        let config = one_dimensional("fault_missing_barrier", 1, 256, order);
        let message = run(&config, &[&x.pointer(), &out.pointer()]).expect_err("unnoticed");
        // Which of the two shows first depends on the order.
        let found = message.contains("nobody has written") || message.contains("no barrier between");
        assert!(found && message.contains(&read), "{message}");
    }
}

#[test]
fn memory_that_nobody_has_written() {
    let (x, out) = (Memory::of(&[1.0; 64]), Memory::empty(128));
    // Only block 0 writes the template's array; it is not carried over to block 1.
    device_fails(
        "fault_stale_shared",
        2,
        64,
        &[&x.pointer(), &out.pointer()],
        &["block (1, 0, 0)", "read of shared memory that nobody has written", &line("return tile[threadIdx.x];")],
    );
    let empty = Memory::empty(64);
    device_fails(
        "fault_unwritten_global",
        1,
        64,
        &[&empty.pointer(), &out.pointer()],
        &["read of device memory that nobody has written"],
    );
}

#[test]
fn races() {
    let (x, out) = (Memory::of(&[1.0; 64]), Memory::of(&[0.0; 64]));
    let (x, out) = (x.pointer(), out.pointer());
    let write = line("tile[threadIdx.x] = 2.0f * next;");
    let read = line("const float next = tile");
    let between = "with no barrier between";
    device_fails("fault_race_shared", 1, 64, &[&x, &out], &["race: ", between, &write, &read]);
    device_fails("fault_race_global", 1, 64, &[&out], &["race: write of what thread", between]);
    let tile = line("sum + tile[31 - threadIdx.x]");
    device_fails("fault_race_warp", 1, 32, &[&out], &["race: read of what thread", between, &tile]);
    let blocks = "another block";
    let add = line("if (threadIdx.x == 0) out[0] += 1.0f;");
    device_fails("fault_race_blocks", 2, 32, &[&out], &["race: ", blocks, "in the same launch", &add]);
    device_fails("fault_race_blocks_read", 2, 64, &[&x, &out], &["race: ", blocks]);
}

#[test]
fn what_is_no_race_passes() {
    let (x, sum, out) = (Memory::of(&[1.0; 64]), Memory::of(&[0.0]), Memory::empty(64));
    let bytes = Memory::empty(16);
    for order in ORDERS {
        let config = Launch { host_memory: false, ..one_dimensional("probe_no_race", 1, 64, order) };
        run(&config, &[&x.pointer(), &sum.pointer(), &bytes.pointer(), &out.pointer()]).unwrap();
    }
}

#[test]
fn divergence_is_an_error_with_file_and_line() {
    let mut out = [0f32; 64];
    let arguments = output(&mut out);
    for order in ORDERS {
        let fails = |kernel, threads, parts: &[&str]| {
            assert_fails(run(&one_dimensional(kernel, 1, threads, order), &[&arguments]), parts)
        };
        fails(
            "fault_divergent_barrier",
            64,
            &[
                "kernel `fault_divergent_barrier`, block (0, 0, 0)",
                "threads 0 to 15: wait at __syncthreads (planted.cu:",
                "threads 16 to 63: returned",
            ],
        );
        fails("fault_two_barriers", 64, &["threads 0 to 31: wait at __syncthreads", "threads 32 to 63: wait at"]);
        fails(
            "fault_divergent_shuffle",
            32,
            &[
                "threads 0 to 6: wait at __shfl_xor_sync (common.cuh:",
                "mask 0xffffffff",
                "thread 7: wait at __syncthreads",
            ],
        );
        fails("fault_foreign_mask", 32, &["__shfl_sync: the mask does not name the calling lane (planted.cu:"]);
    }
    // A launch after a failed one starts afresh.
    run(&one_dimensional("fault_partial_warp", 1, 32, Order::Forward), &[&arguments]).unwrap();
    assert_eq!(out[..32], [32.0; 32]);
}

#[test]
fn lanes_that_do_not_exist_give_nan() {
    let mut out = [0f32; 20];
    run(&one_dimensional("fault_partial_warp", 1, 20, Order::Forward), &[&output(&mut out)]).unwrap();
    assert!(out.iter().all(|v| v.is_nan()));
}

#[test]
fn undefined_behaviour_is_an_error() {
    let x = [[0f32; 4]; 4];
    let mut out = [0i64; 4];
    let out = output(&mut out);
    let fails = |kernel, arguments: &[&[u8]], what| {
        assert_fails(run(&one_dimensional(kernel, 1, 1, Order::Forward), arguments), &[what, "(planted.cu:"]);
    };
    fails("fault_misaligned", &[&input(&x), &out], "misaligned access");
    fails("fault_misaligned", &[&(-4i64).to_ne_bytes(), &out], "null pointer");
    fails("fault_overflow", &[scalar(&3_330_294i32), scalar(&1024i32), &out], "integer overflow in a multiplication");
    fails("fault_division", &[scalar(&1i32), scalar(&0i32), &out], "division by zero");
    fails("fault_array_bounds", &[scalar(&8u32), &out], "array index out of bounds");
}

#[test]
fn launches_that_do_not_fit_the_kernel_are_errors() {
    let mut out = [0f32; 32];
    let out = output(&mut out);
    let config = one_dimensional("fault_partial_warp", 1, 32, Order::Forward);
    assert_fails(run(&config, &[]), &["takes 1 arguments, got 0"]);
    assert_fails(run(&config, &[&out, &out]), &["takes 1 arguments, got 2"]);
    assert_fails(run(&config, &[&out[..4]]), &["argument 0 has 8 bytes, got 4"]);
    assert_fails(run(&one_dimensional("no_such_kernel", 1, 32, Order::Forward), &[]), &["no kernel `no_such_kernel`"]);
    assert_fails(run(&Launch { grid: [0, 1, 1], ..config }, &[&out]), &["grid (0, 1, 1)"]);
    assert_fails(run(&Launch { grid: [1, 65536, 1], ..config }, &[&out]), &["grid (1, 65536, 1)"]);
    assert_fails(run(&Launch { block: [1025, 1, 1], ..config }, &[&out]), &["block (1025, 1, 1)"]);
    assert_fails(
        run(&Launch { shared_bytes: 1 << 20, ..config }, &[&out]),
        &["1048576 bytes of dynamic shared memory"],
    );
    let bounded = one_dimensional(kernels::GATHER_FWD.name, 1, 512, Order::Forward);
    let arguments: [&[u8]; 5] = [&out, &out, &out, scalar(&0u64), scalar(&1u32)];
    assert_fails(run(&bounded, &arguments), &["__launch_bounds__ allows 256"]);
}

/// One fault, for scripts/check-sanitizers.sh, which expects the sanitizer to end the program.
#[test]
#[ignore = "ends the program under a sanitizer"]
fn plant() {
    let (x, out) = (Memory::of(&[1.0; 64]), Memory::of(&[0.0; 64]));
    let (x, out) = (x.pointer(), out.pointer());
    let fault = std::env::var("WAATA_FAULT").unwrap();
    let fault = fault.as_str();
    let arguments: Vec<&[u8]> = match fault {
        "fault_read_global" => vec![&x, &out, scalar(&64i64)],
        "fault_write_global" => vec![&out, scalar(&64i64)],
        "fault_read_shared" | "fault_write_shared" => vec![scalar(&8u32), &out],
        "fault_array_bounds" => vec![scalar(&8u32), &out],
        "fault_dynamic_shared" => vec![scalar(&16u32)],
        "fault_overflow" => vec![scalar(&3_330_294i32), scalar(&1024i32), &out],
        "fault_race_shared" | "fault_missing_barrier" => vec![&x, &out],
        "fault_race_global" | "fault_race_warp" => vec![&out],
        _ => panic!("no fault `{fault}`"),
    };
    let threads = if fault == "fault_race_warp" || fault == "fault_overflow" { 32 } else { 64 };
    let shared_bytes = if fault == "fault_dynamic_shared" { 64 } else { 0 };
    let config = Launch { shared_bytes, ..one_dimensional(fault, 1, threads, Order::Forward) };
    println!("{:?}", run(&config, &arguments));
}
