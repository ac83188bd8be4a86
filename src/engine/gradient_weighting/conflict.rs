//! Rules about gradients that point against each other. What they make of the gradients is a weighted sum of them whose
//! weights follow from the inner products alone (17g), (17h).

use super::gram::Gram;

/// PCGrad (Yu et al. 2020): each gradient loses its part against every other, one after the other; the results are
/// added. `order(i)` are the losses in the order in which gradient i meets them. Returns the weight of each gradient in
/// the sum, 1 or more.
pub(super) fn pcgrad(gram: &Gram, order: impl Fn(usize) -> Vec<usize>) -> Vec<f64> {
    let mut sum = vec![0.0; gram.losses];
    for i in 0..gram.losses {
        // The projected gradient, as weights of the given ones.
        let mut projected = vec![0.0; gram.losses];
        projected[i] = 1.0;
        for j in order(i).into_iter().filter(|&j| j != i) {
            let inner: f64 = projected.iter().enumerate().map(|(k, x)| x * gram.at(k, j)).sum();
            let square = gram.at(j, j);
            if inner < 0.0 && square > 0.0 {
                projected[j] -= inner / square;
            }
        }
        sum.iter_mut().zip(projected).for_each(|(sum, x)| *sum += x);
    }
    sum
}

/// Sweeps over all pairs after which the search ends; each is a few dozen operations, and a handful are enough.
const SWEEPS: usize = 1000;
/// Weights that move by less are found.
const MOVED: f64 = 1e-13;
/// The square of a combination's length, as a share of the sum of its terms' squares, below which its direction is what
/// rounding has left: gradients have single precision.
const CANCELLED: f64 = 1e-8;

/// CAGrad (Liu et al. 2021): with g_0 the mean gradient and G_w = sum_i w_i G_i,
///
///   w = argmin over the simplex of <G_w, g_0> + c |g_0| |G_w|
///   G = K (g_0 + c |g_0| G_w / |G_w|) / (1 + c^2)
///
/// K, so that c = 0 is the plain sum. Returns the weight of each gradient in G.
pub(super) fn cagrad(gram: &Gram, c: f64) -> Vec<f64> {
    let losses = gram.losses;
    let one = vec![1.0; losses];
    if losses < 2 || c == 0.0 {
        return one;
    }
    let count = losses as f64;
    // <G_i, g_0>
    let with_mean: Vec<f64> = gram.times(&one).into_iter().map(|sum| sum / count).collect();
    let reach = c * (with_mean.iter().sum::<f64>() / count).max(0.0).sqrt();
    let scale = 1.0 / (1.0 + c * c);
    if reach == 0.0 {
        return vec![scale; losses];
    }
    let w = worst_served(gram, &with_mean, reach);
    let square = product(&w, &gram.times(&w));
    let terms: f64 = w.iter().enumerate().map(|(i, w)| w * w * gram.at(i, i)).sum();
    let towards = if square <= CANCELLED * terms { 0.0 } else { count * reach / square.sqrt() };
    w.iter().map(|w| (1.0 + towards * w) * scale).collect()
}

/// argmin over the simplex of <w, b> + reach sqrt(w' M w), from equal weights, by minimising exactly along the line
/// between each pair of losses in turn. The function is convex, and smooth where the combination is not 0, so the search
/// ends at its minimum; with two losses after one line.
fn worst_served(gram: &Gram, b: &[f64], reach: f64) -> Vec<f64> {
    let losses = gram.losses;
    let mut w = vec![1.0 / losses as f64; losses];
    for _ in 0..SWEEPS {
        let mut moved = 0f64;
        for i in 0..losses {
            for j in 0..i {
                let step = along(gram, b, reach, &w, (i, j));
                w[i] += step;
                w[j] -= step;
                moved = moved.max(step.abs());
            }
        }
        if moved <= MOVED {
            break;
        }
    }
    let sum: f64 = w.iter().sum();
    w.iter().map(|w| w / sum).collect()
}

/// How much weight goes from loss j to loss i: the t between -w_i and w_j that minimises
/// slope t + reach sqrt(A t^2 + 2 B t + C).
fn along(gram: &Gram, b: &[f64], reach: f64, w: &[f64], (i, j): (usize, usize)) -> f64 {
    let with = gram.times(w);
    let (slope, square) = (b[i] - b[j], gram.at(i, i) - 2.0 * gram.at(i, j) + gram.at(j, j));
    let (linear, constant) = (with[i] - with[j], product(w, &with));
    let (least, most) = (-w[i].max(0.0), w[j].max(0.0));
    // Not above 0 for equal gradients, between which nothing is to choose, nor for NaN.
    if square.is_nan() || square <= 0.0 {
        return 0.0;
    }
    let ratio = slope / (reach * square.sqrt());
    if ratio >= 1.0 {
        return least;
    }
    if ratio <= -1.0 {
        return most;
    }
    // Where the derivative is 0: u / sqrt(u^2 + D) = -ratio, with u = A t + B and D = A C - B^2.
    let rest = (square * constant - linear * linear).max(0.0);
    let u = -ratio * rest.sqrt() / (1.0 - ratio * ratio).sqrt();
    ((u - linear) / square).max(least).min(most)
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
