//! The score of the Numenta Anomaly Benchmark, standard profile, as published (Lavin and Ahmad 2015, and the
//! benchmark's scorer): a window counts once, by its first alarm, the earlier the better; every alarm
//! outside costs, the less the closer behind a window it is; a window without one costs as much as the
//! best alarm brings. One threshold for the whole corpus, the best one. 0 is silence, 100 is perfect.

/// Weights of the standard profile: an alarm in a window, one outside, a window without one.
const TRUE_POSITIVE: f64 = 1.0;
const FALSE_POSITIVE: f64 = 0.11;
const FALSE_NEGATIVE: f64 = 1.0;

/// Share of a series that a detector may learn from, unscored; of no more than so many values.
const PROBATION: f64 = 0.15;
const PROBATION_OF_MAX: f64 = 5000.0;

/// What an alarm at one value is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub worth: f64,
    /// In which window of the series.
    pub window: Option<usize>,
    /// Else it does not count at all.
    pub counts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub score: f64,
    /// Alarms are the values with at least this score; infinite: no alarm is the best.
    pub threshold: f64,
    pub found: usize,
    pub false_alarms: usize,
}

/// −1 at a window's left edge, 0 at its right one, beyond it positive; nearly 1 to −1.
fn sigmoid(position: f64) -> f64 {
    match position >= 3.0 {
        true => -1.0,
        false => 2.0 / (1.0 + (5.0 * position).exp()) - 1.0,
    }
}

/// Windows by the places of their first and last value, in order and apart from each other.
pub fn points(length: usize, windows: &[(usize, usize)]) -> Vec<Point> {
    let probation = (PROBATION * length as f64)
        .floor()
        .min(PROBATION * PROBATION_OF_MAX);
    let point = |at: usize| {
        let window = windows
            .iter()
            .position(|&(first, last)| (first..=last).contains(&at));
        let before = windows.iter().rev().find(|&&(_, last)| last < at);
        let worth = match (window, before) {
            (Some(window), _) => {
                let (first, last) = windows[window];
                let (left, width) = ((last - at + 1) as f64, (last - first + 1) as f64);
                // Scaled, so that the best alarm brings its whole weight.
                TRUE_POSITIVE * sigmoid(-left / width) / sigmoid(-1.0)
            }
            (None, Some(&(first, last))) => {
                let width = (last - first).max(1) as f64;
                FALSE_POSITIVE * sigmoid((at - last) as f64 / width)
            }
            (None, None) => -FALSE_POSITIVE,
        };
        Point {
            worth,
            window,
            counts: at as f64 >= probation,
        }
    };
    (0..length).map(point).collect()
}

/// The best score of the corpus over all thresholds: series by series, a detector's scores (greater: more
/// of an alarm) and what alarms are worth.
pub fn score(corpus: &[(Vec<f64>, &[Point])]) -> Scored {
    let mut alarms: Vec<(f64, usize, Point)> = Vec::new();
    // What each window brings so far.
    let mut windows: Vec<Vec<Option<f64>>> = Vec::new();
    for (series, (scores, points)) in corpus.iter().enumerate() {
        let counted = scores.iter().zip(*points).filter(|(_, point)| point.counts);
        alarms.extend(counted.map(|(score, point)| (*score, series, *point)));
        windows.push(Vec::new());
        for window in points.iter().filter(|p| p.counts).filter_map(|p| p.window) {
            let needed = windows[series].len().max(window + 1);
            windows[series].resize(needed, None);
        }
    }
    // A window that lies wholly in the probation is no window.
    let is_window = |series: usize, window: usize| {
        corpus[series]
            .1
            .iter()
            .any(|point| point.counts && point.window == Some(window))
    };
    let count: usize = windows
        .iter()
        .enumerate()
        .map(|(series, all)| (0..all.len()).filter(|w| is_window(series, *w)).count())
        .sum();
    let silence = -FALSE_NEGATIVE * count as f64;
    let perfect = TRUE_POSITIVE * count as f64;
    alarms.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut raw, mut found, mut false_alarms) = (silence, 0, 0);
    let mut best = (raw, f64::INFINITY, 0, 0);
    for (place, (score, series, point)) in alarms.iter().enumerate() {
        match point.window {
            None => {
                raw += point.worth;
                false_alarms += 1;
            }
            Some(window) => match &mut windows[*series][window] {
                Some(brings) => {
                    raw += (point.worth - *brings).max(0.0);
                    *brings = brings.max(point.worth);
                }
                none => {
                    raw += FALSE_NEGATIVE + point.worth;
                    *none = Some(point.worth);
                    found += 1;
                }
            },
        }
        // Values of the same score are alarms together.
        let last = alarms
            .get(place + 1)
            .is_none_or(|next| next.0.total_cmp(score).is_ne());
        if last && raw > best.0 {
            best = (raw, *score, found, false_alarms);
        }
    }
    Scored {
        score: match count {
            0 => 0.0,
            _ => 100.0 * (best.0 - silence) / (perfect - silence),
        },
        threshold: best.1,
        found: best.2,
        false_alarms: best.3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 values, of which 3 are probation; one window of 4 at 8 to 11.
    fn series() -> Vec<Point> {
        points(20, &[(8, 11)])
    }

    fn scored(alarms: &[usize]) -> Scored {
        let points = series();
        let scores = (0..20).map(|at| f64::from(alarms.contains(&at))).collect();
        score(&[(scores, &points)])
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    }

    #[test]
    fn what_an_alarm_is_worth_by_its_place() {
        let points = series();
        // sigmoid(-1) is 0.986614, sigmoid(-3/4) 0.954043, sigmoid(-1/2) 0.848284, sigmoid(-1/4) 0.554600.
        let inside = [1.0, 0.966986, 0.859793, 0.562124];
        for (at, worth) in (8..12).zip(inside) {
            close(points[at].worth, worth);
            assert_eq!(points[at].window, Some(0));
        }
        // Before the first window all of it; behind one, by the distance in thirds of it.
        close(points[5].worth, -0.11);
        close(points[12].worth, -0.11 * 0.682_331);
        close(points[14].worth, -0.11 * 0.986_614);
        // Three times the width away.
        close(points[19].worth, -0.11 * 0.999_997);
        let counted = points.iter().position(|point| point.counts);
        assert_eq!(counted, Some(3));
        // Of a long series no more than 750.
        let long = super::points(100_000, &[]);
        assert_eq!(long.iter().position(|point| point.counts), Some(750));
    }

    #[test]
    fn scores_between_silence_and_perfection() {
        close(scored(&[8]).score, 100.0);
        close(scored(&[8, 9, 10]).score, 100.0);
        // From -1 to 1: 0.859793 is at (0.859793 + 1) / 2.
        close(scored(&[10]).score, 92.98965);
        // One false alarm before the window: 0.11 of 2 less.
        let with_false = scored(&[5, 8]);
        close(with_false.score, 94.5);
        assert_eq!((with_false.found, with_false.false_alarms), (1, 1));
        // In the probation nothing counts; what remains is to take every value for an alarm: 1 for the
        // window, 0.55 off for five before it, 0.8357 off for eight behind it.
        let all = scored(&[1, 2]);
        assert_eq!((all.threshold, all.false_alarms), (0.0, 13));
        close(all.score, 100.0 * (2.0 - 0.55 - 0.835_654) / 2.0);
        // Where that costs more than the window brings, silence is the best.
        let points = points(100, &[(80, 83)]);
        let scores = (0..100).map(|at| f64::from(at == 50)).collect();
        let silent = score(&[(scores, points.as_slice())]);
        assert_eq!((silent.score, silent.threshold), (0.0, f64::INFINITY));
    }

    #[test]
    fn one_threshold_for_the_corpus_is_the_best_one() {
        let quiet = points(20, &[]);
        let points = series();
        let mut scores = vec![0.0; 20];
        scores[8] = 0.5;
        let mut noise = vec![0.0; 20];
        // Ten false alarms at 0.6 cost 1.1, and the window brings 2: it is worth it.
        noise[5..15].fill(0.6);
        let found = score(&[(scores.clone(), &points), (noise.clone(), &quiet)]);
        close(found.score, 100.0 * (2.0 - 1.1) / 2.0);
        assert_eq!((found.threshold, found.false_alarms), (0.5, 10));
        // At 0.4 they are no alarms.
        noise.iter_mut().for_each(|value| *value *= 0.4 / 0.6);
        close(score(&[(scores, &points), (noise, &quiet)]).score, 100.0);
    }
}
