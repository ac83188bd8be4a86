use waata::engine::{DType, Device, Gpu, Tape, Tensor, bf16, f16};
use waata::ops::{Cast, Gather, L2Normalize, Rows};

use crate::common::{HostDriver, Order};

fn devices() -> Vec<Device> {
    let executor = |order| Device::Gpu(Gpu::new(HostDriver::new(order)));
    vec![Device::Cpu, executor(Order::Forward), executor(Order::Shuffle(7))]
}

/// Every value of a type of 16 bits, in f64; `round` is the conversion that the crate half computes.
struct Half {
    dtype: DType,
    widen: fn(u16) -> f64,
    round: fn(f32) -> u16,
}

const HALVES: [Half; 2] = [
    Half { dtype: DType::Bf16, widen: |bits| bf16::from_bits(bits).to_f64(), round: |x| bf16::from_f32(x).to_bits() },
    Half { dtype: DType::F16, widen: |bits| f16::from_bits(bits).to_f64(), round: |x| f16::from_f32(x).to_bits() },
];

fn cast(t: &Tensor, to: DType) -> Tensor {
    let mut tape = Tape::new();
    let x = tape.constant(t.clone());
    let y = tape.apply(Cast::to(to), &[x]).unwrap();
    tape.value(y).clone()
}

/// The bits of the value as the reference has them; NaNs are all the same.
fn same(got: f64, want: f64) -> bool {
    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan())
}

/// All 65,536 patterns widen to their values and round back to themselves: subnormals, infinities, both zeros.
#[test]
fn every_pattern_goes_there_and_back() {
    for half in HALVES {
        let values: Vec<f64> = (0..=u16::MAX).map(half.widen).collect();
        let singles: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        for device in devices() {
            let wide = Tensor::new(&device, 256, 256, &singles).unwrap();
            let narrow = cast(&wide, half.dtype);
            assert_eq!(narrow.dtype(), half.dtype);
            let back = cast(&narrow, DType::F32);
            for ((bits, want), (a, b)) in
                (0u32..).zip(&values).zip(narrow.to_f64().unwrap().into_iter().zip(back.to_f64().unwrap()))
            {
                let name = device.name();
                assert!(same(a, *want) && same(b, *want), "{:?} {bits:#x} on {name}: {a} {b}", half.dtype);
            }
        }
    }
}

/// Between all neighbours, the middle and the floats on either side of it: to nearest, ties to even.
#[test]
fn rounding_is_to_nearest_even() {
    for half in HALVES {
        let mut inputs = vec![f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1)];
        inputs.extend([0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0xffff_ffff].map(f32::from_bits));
        for bits in 0..=u16::MAX - 1 {
            let (a, b) = ((half.widen)(bits), (half.widen)(bits + 1));
            // Beyond the largest value the next would be a step further: 65,536 in half precision.
            let b = if b.is_infinite() { a + (a - (half.widen)(bits - 1)) } else { b };
            let middle = ((a + b) / 2.0) as f32;
            inputs.extend([middle, middle.next_up(), middle.next_down()]);
        }
        for device in devices() {
            let x = Tensor::new(&device, inputs.len(), 1, &inputs).unwrap();
            let got = cast(&x, half.dtype).to_f64().unwrap();
            for (x, got) in inputs.iter().zip(got) {
                let want = (half.widen)((half.round)(*x));
                let name = device.name();
                assert!(same(got, want), "{:?} of {x:e} on {name}: {got:e}, want {want:e}", half.dtype);
            }
        }
    }
}

/// Numbers of elements that are no multiple of what a thread takes, none among them.
#[test]
fn any_number_of_elements() {
    for half in HALVES {
        for n in [0, 1, 2, 3, 5, 7, 1027] {
            let values: Vec<f32> = (0..n).map(|i| 0.37 * i as f32 - 1.0).collect();
            let want: Vec<f64> = values.iter().map(|&x| (half.widen)((half.round)(x))).collect();
            for device in devices() {
                let x = Tensor::new(&device, n, 1, &values).unwrap();
                let y = cast(&x, half.dtype);
                assert_eq!(y.to_f64().unwrap(), want);
                assert_eq!(cast(&y, DType::F32).to_f64().unwrap(), want);
                // Copies keep the type.
                let there = y.to_device(&Device::Cpu).unwrap();
                assert_eq!((there.dtype(), there.to_f64().unwrap()), (half.dtype, want.clone()));
            }
        }
    }
}

/// Gradients are f32 on either side, pass unrounded, and add up where a table is read in both types.
#[test]
fn the_gradient_passes() {
    for device in devices() {
        let mut tape = Tape::new();
        let x = tape.parameter(Tensor::new(&device, 2, 2, &[1.0, 2.0, 3.0, 4.0]).unwrap());
        let h = tape.apply(Cast::to(DType::F16), &[x]).unwrap();
        let y = tape.apply(Cast::to(DType::F32), &[h]).unwrap();
        let seed = Tensor::new(&device, 2, 2, &[0.1, 0.2, 0.3, 0.4]).unwrap();
        let mut grads = tape.backward(&[(y, seed.clone()), (h, seed.clone()), (x, seed)]).unwrap();
        let (dx, dh) = (grads.take(x).unwrap(), grads.take(h).unwrap());
        assert_eq!((dx.dtype(), dh.dtype()), (DType::F32, DType::F32));
        assert_eq!(dh.to_vec().unwrap(), [0.1f32, 0.2, 0.3, 0.4].map(|x| x + x));
        assert_eq!(dx.to_vec().unwrap(), [0.1f32, 0.2, 0.3, 0.4].map(|x| x + x + x));
    }
}

/// Rows of a table in 16 bits are gathered as they are; their gradient is f32.
#[test]
fn gathered_rows_keep_their_type() {
    for half in HALVES {
        for d in [1, 2, 5, 8, 63, 64, 70, 256] {
            let ids = vec![2, 0, 2, 1];
            let values: Vec<f64> = (0..3 * d).map(|i| (half.widen)((half.round)(0.1 * i as f32))).collect();
            for device in devices() {
                let mut tape = Tape::new();
                let table = tape.parameter(Tensor::from_f64(&device, half.dtype, 3, d, &values).unwrap());
                let rows = Rows::new(&device, ids.clone(), 3).unwrap();
                let y = tape.apply(Gather::new(rows), &[table]).unwrap();
                assert_eq!(tape.value(y).dtype(), half.dtype);
                let want: Vec<f64> = ids.iter().flat_map(|&i| values[i as usize * d..][..d].to_vec()).collect();
                assert_eq!(tape.value(y).to_f64().unwrap(), want);
                let seed = Tensor::new(&device, 4, d, &vec![1.0; 4 * d]).unwrap();
                let grad = tape.backward(&[(y, seed)]).unwrap().take(table).unwrap();
                let want: Vec<f32> = [1.0, 1.0, 2.0].iter().flat_map(|&x| vec![x; d]).collect();
                assert_eq!((grad.dtype(), grad.to_vec().unwrap()), (DType::F32, want));
            }
        }
    }
}

/// What computes refuses rows of 16 bits with an error, and so do types that do not go together.
#[test]
fn other_ops_refuse() {
    for device in devices() {
        let mut tape = Tape::new();
        let x = tape.parameter(Tensor::zeros(&device, DType::Bf16, 2, 2).unwrap());
        let error = tape.apply(L2Normalize::default(), &[x]).unwrap_err().to_string();
        assert!(error.contains("all inputs as F32") && error.contains("Bf16"), "{error}");
        let mut sum = Tensor::zeros(&device, DType::F32, 2, 2).unwrap();
        assert!(sum.add_scaled(1.0, tape.value(x)).is_err());
        let error = tape.apply(Cast::to(DType::F16), &[x]).unwrap_err().to_string();
        assert!(error.contains("Bf16 to F16"), "{error}");
    }
    let mut tape = Tape::new();
    let x = tape.parameter(Tensor::zeros(&Device::Cpu, DType::F64, 2, 2).unwrap());
    assert!(tape.apply(Cast::to(DType::Bf16), &[x]).is_err());
}
