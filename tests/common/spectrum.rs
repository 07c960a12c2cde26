//! Singular values, by another algorithm than the crate's.

use burn::tensor::Tensor;

use super::{norm, to_vec};

/// Vectors of one length.
pub type Vectors = Vec<Vec<f64>>;

pub fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn transposed(vectors: &Vectors) -> Vectors {
    let length = vectors.first().map_or(0, Vec::len);
    let entry = |index: usize| vectors.iter().map(|vector| vector[index]).collect();
    (0..length).map(entry).collect()
}

/// Singular values times singular vectors, of the space that the vectors are in, the largest in
/// front: pairs are rotated until all are orthogonal (Hestenes 1958).
pub fn singular_vectors(mut vectors: Vectors) -> Vectors {
    let energy: f64 = vectors.iter().map(|vector| product(vector, vector)).sum();
    for _sweep in 0..60 {
        let mut turned = false;
        for i in 0..vectors.len() {
            for j in i + 1..vectors.len() {
                let (front, back) = vectors.split_at_mut(j);
                let (a, b) = (&mut front[i], &mut back[0]);
                let [aa, bb, ab] = [product(a, a), product(b, b), product(a, b)];
                if ab.abs() <= 1e-15 * (aa * bb).sqrt() || aa.min(bb) <= 1e-32 * energy {
                    continue;
                }
                turned = true;
                let zeta = (bb - aa) / (2.0 * ab);
                let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                for (a, b) in a.iter_mut().zip(b) {
                    let (x, y) = (*a, *b);
                    *a = cosine * (x - tangent * y);
                    *b = cosine * (tangent * x + y);
                }
            }
        }
        if !turned {
            break;
        }
    }
    vectors.sort_by(|a, b| norm(b).total_cmp(&norm(a)));
    vectors
}

/// Of the rows of a matrix.
pub fn singular_values(rows: &Vectors) -> Vec<f64> {
    // The fewer vectors, the fewer pairs.
    let wide = rows.len() <= rows[0].len();
    let vectors = if wide { rows.clone() } else { transposed(rows) };
    let vectors = singular_vectors(vectors);
    vectors.iter().map(|vector| norm(vector)).collect()
}

/// The norm of the singular values that a rank leaves out, over the norm of something.
pub fn tail(rows: &Vectors, rank: usize, of: &Vectors) -> f64 {
    let values = singular_values(rows);
    norm(&values[rank.min(values.len())..]) / norm(&of.concat())
}

pub fn rows_of_outputs(output: Tensor<4>) -> Vectors {
    let output = output.swap_dims(0, 1);
    let pixels = output.dims()[1..].iter().product();
    let rows = to_vec(output);
    rows.chunks(pixels).map(<[f64]>::to_vec).collect()
}

pub fn centred(rows: &Vectors) -> Vectors {
    let without_mean = |row: &Vec<f64>| {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        row.iter().map(|value| value - mean).collect()
    };
    rows.iter().map(without_mean).collect()
}
