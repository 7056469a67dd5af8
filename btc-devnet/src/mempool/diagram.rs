//! Compares two ways to fill blocks: the fees that the best n weight units pay, for every n (`util/feefrac.cpp`).

use std::cmp::Ordering;

use super::linearize::compare_rates;

/// Whether `new` pays at least as much as `old` at every size and more at some. Both are (fee, weight) of chunks; a diagram
/// that ends goes on level.
pub(crate) fn improves(old: &[(u64, u64)], new: &[(u64, u64)]) -> bool {
    let (old, new) = (points(old), points(new));
    let better_at = |(fee, weight): (u64, u64), diagram: &[(u64, u64)]| compare_with(fee, weight, diagram);
    // Two concave lines of straight pieces are compared at each other's corners.
    let mut better = false;
    for &point in &new {
        better |= better_at(point, &old) == Ordering::Greater;
    }
    let mut worse = new.iter().any(|&point| better_at(point, &old) == Ordering::Less);
    for &point in &old {
        match better_at(point, &new) {
            Ordering::Greater => worse = true,
            Ordering::Less => better = true,
            Ordering::Equal => {}
        }
    }
    better && !worse
}

/// The corners of the diagram, from the highest rate down.
fn points(chunks: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted = chunks.to_vec();
    sorted.sort_by(|&a, &b| compare_rates(b, a));
    let mut sum = (0, 0);
    sorted
        .into_iter()
        .map(|(fee, weight)| {
            sum = (sum.0 + fee, sum.1 + weight);
            sum
        })
        .collect()
}

/// Compares `fee` with what `diagram` pays at `weight`.
fn compare_with(fee: u64, weight: u64, diagram: &[(u64, u64)]) -> Ordering {
    let after = diagram.partition_point(|&(_, end)| end < weight);
    let (from_fee, from_weight) = if after == 0 { (0, 0) } else { diagram[after - 1] };
    let Some(&(to_fee, to_weight)) = diagram.get(after) else { return fee.cmp(&from_fee) };
    // fee ⋛ from_fee + (to_fee − from_fee) · (weight − from_weight) / (to_weight − from_weight)
    let span = u128::from(to_weight - from_weight);
    let line = u128::from(from_fee) * span + u128::from(to_fee - from_fee) * u128::from(weight - from_weight);
    (u128::from(fee) * span).cmp(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagram_improves_only_if_it_is_nowhere_worse() {
        assert!(improves(&[(100, 100)], &[(101, 100)]));
        assert!(!improves(&[(100, 100)], &[(100, 100)]), "equal is no improvement");
        assert!(improves(&[(100, 100)], &[(100, 50)]), "the same fee for less");
        assert!(!improves(&[(100, 100)], &[(500, 1000)]), "more in all, but less at first");
        assert!(improves(&[(100, 100)], &[(1500, 1000)]));
        assert!(improves(&[], &[(1, 1)]));
        assert!(!improves(&[(100, 100), (1, 100)], &[(100, 100)]), "the end is lower");
        assert!(improves(&[(50, 100), (50, 100)], &[(90, 100), (20, 100)]));
    }
}
