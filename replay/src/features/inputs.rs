//! What the forest sees of a window: its features, and how large its greatest surprises are.
//!
//! An isolation forest picks columns at random. Something that shows in one feature of twenty-two, such as
//! a busy CPU, is met by few of its splits. So the forest also gets the window's [`TOP`] greatest surprises
//! as columns, whatever features they are in: a surprise is a value in units of what is common for that
//! feature in normal windows. What these columns contribute to a score is credited to the features behind
//! them.

use forest::IsolationForest;

use super::schema::{COUNT, FEATURES, Kind};

/// Greatest surprises that are columns of their own.
pub const TOP: usize = 3;
/// Columns of the forest.
pub const INPUTS: usize = COUNT + TOP;

/// Share of normal windows whose values count as common.
const COMMON: f64 = 0.9;
/// A rate or level that fell surprises less than one that rose: work ends more often than it explodes.
const FALLEN: f64 = 0.5;

/// The size of a common value of each feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales([f64; COUNT]);

impl Scales {
    /// From normal windows; a feature that hardly varies there keeps the schema's scale.
    pub fn learn<'a>(rows: impl Iterator<Item = &'a [f64; COUNT]> + Clone) -> Scales {
        Scales(std::array::from_fn(|feature| {
            let mut sizes: Vec<f64> = rows
                .clone()
                .map(|row| row[feature].abs())
                .filter(|size| !size.is_nan())
                .collect();
            sizes.sort_by(f64::total_cmp);
            let common = sizes
                .get((sizes.len() as f64 * COMMON) as usize)
                .or(sizes.last())
                .copied()
                .unwrap_or(0.0);
            common.max(FEATURES[feature].scale)
        }))
    }

    /// As stored; `None` when they are not usable.
    pub fn from_stored(stored: &[f64]) -> Option<Scales> {
        let scales: [f64; COUNT] = stored.try_into().ok()?;
        scales
            .iter()
            .all(|scale| scale.is_finite() && *scale > 0.0)
            .then_some(Scales(scales))
    }

    pub fn values(&self) -> &[f64; COUNT] {
        &self.0
    }

    fn surprise(&self, feature: usize, value: f64) -> f64 {
        let size = value / self.0[feature];
        match FEATURES[feature].kind {
            // An unknown value surprises nobody.
            _ if size.is_nan() => 0.0,
            Kind::Ratio | Kind::Difference if size < 0.0 => -size * FALLEN,
            _ => size.max(0.0),
        }
    }

    /// The forest's columns, and the features behind the last [`TOP`] of them.
    pub fn inputs(&self, values: &[f64; COUNT]) -> ([f64; INPUTS], [usize; TOP]) {
        let surprises: [f64; COUNT] =
            std::array::from_fn(|feature| self.surprise(feature, values[feature]));
        let mut order: [usize; COUNT] = std::array::from_fn(|feature| feature);
        // The sort is stable: of equals, the feature that comes first.
        order.sort_by(|a, b| surprises[*b].total_cmp(&surprises[*a]));
        let top: [usize; TOP] = std::array::from_fn(|rank| order[rank]);
        let inputs = std::array::from_fn(|column| match column.checked_sub(COUNT) {
            None => values[column],
            Some(rank) => surprises[top[rank]],
        });
        (inputs, top)
    }

    /// Contributions of the forest's columns as contributions of features.
    pub fn credit(&self, values: &[f64; COUNT], contributions: &[f64]) -> [f64; COUNT] {
        assert_eq!(
            contributions.len(),
            INPUTS,
            "one contribution is needed for each column"
        );
        let (_, top) = self.inputs(values);
        let mut credits: [f64; COUNT] = std::array::from_fn(|feature| contributions[feature]);
        for (rank, feature) in top.into_iter().enumerate() {
            credits[feature] += contributions[COUNT + rank];
        }
        credits
    }
}

/// A forest with the scales it was fitted with: scores and explains a window's features.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    forest: IsolationForest,
    scales: Scales,
}

impl Judge {
    /// `None` when the forest has other columns than [`INPUTS`].
    pub fn new(forest: IsolationForest, scales: Scales) -> Option<Judge> {
        (forest.columns() == INPUTS).then_some(Judge { forest, scales })
    }

    pub fn forest(&self) -> &IsolationForest {
        &self.forest
    }
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// 0 to 1; 1 is most unlike anything normal.
    pub fn score(&self, values: &[f64; COUNT]) -> f64 {
        let (inputs, _) = self.scales.inputs(values);
        self.forest
            .score(&inputs)
            .expect("the forest's columns were checked")
    }

    /// Each feature's part in the score, in doublings; positive raised it.
    pub fn explain(&self, values: &[f64; COUNT]) -> [f64; COUNT] {
        let (inputs, _) = self.scales.inputs(values);
        let explained = self
            .forest
            .explain(&inputs)
            .expect("the forest's columns were checked");
        self.scales.credit(values, &explained.contributions)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{BORN_EXECS, CPU, NEW_PATHS, SYSCALLS};
    use super::*;

    #[test]
    fn the_greatest_surprises_are_columns_and_get_the_credit() {
        let scales = Scales::learn([[0.0; COUNT]; 3].iter());
        let mut values = [0.0; COUNT];
        values[CPU] = 2.0;
        values[NEW_PATHS] = 0.7;
        values[SYSCALLS] = f64::NAN;
        let (inputs, top) = scales.inputs(&values);
        assert_eq!(top[..2], [CPU, NEW_PATHS]);
        assert!(
            (inputs[COUNT] - 10.0).abs() < 1e-12 && (inputs[COUNT + 1] - 2.0).abs() < 1e-12,
            "{inputs:?}"
        );
        let mut contributions = [0.0; INPUTS];
        contributions[CPU] = 0.1;
        contributions[COUNT] = 0.5;
        assert!((scales.credit(&values, &contributions)[CPU] - 0.6).abs() < 1e-12);
    }

    #[test]
    fn what_is_common_in_normal_windows_surprises_less() {
        let rows: Vec<[f64; COUNT]> = (0..100)
            .map(|at| {
                let mut row = [0.0; COUNT];
                row[CPU] = f64::from(at % 10) / 5.0;
                row
            })
            .collect();
        let scales = Scales::learn(rows.iter());
        assert!(
            scales.surprise(CPU, 1.8) <= 1.0,
            "{}",
            scales.surprise(CPU, 1.8)
        );
        assert!(scales.surprise(BORN_EXECS, 0.7) >= 2.0);
        assert!(scales.surprise(CPU, -1.8) < scales.surprise(CPU, 1.8));
    }

    #[test]
    fn stored_scales_are_checked() {
        assert_eq!(
            Scales::from_stored(&[1.0; COUNT]),
            Some(Scales([1.0; COUNT]))
        );
        for bad in [
            &[1.0; COUNT - 1][..],
            &[0.0; COUNT],
            &[f64::NAN; COUNT],
            &[f64::INFINITY; COUNT],
        ] {
            assert_eq!(Scales::from_stored(bad), None);
        }
    }
}
