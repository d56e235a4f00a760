//! What was measured, and the table of it.

use std::collections::BTreeMap;

use crate::measure::median;

/// One refresh: milliseconds of its backend's processor and by the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

/// What is measured of each view.
#[derive(Debug, Default)]
pub(crate) struct Figure {
    pub(crate) fast: Vec<Time>,
    pub(crate) complete: Vec<Time>,
    pub(crate) native: Vec<Time>,
    pub(crate) auto: Vec<Time>,
    pub(crate) methods: Vec<String>,
}

/// The figures of all views at one rate of change.
#[derive(Debug)]
pub(crate) struct Figures {
    rate: f64,
    pub(crate) views: BTreeMap<String, Figure>,
}

impl Figures {
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            rate,
            views: BTreeMap::new(),
        }
    }

    /// Prints a line for each view: medians of processor time. Ratios are medians of the rounds' ratios, which what slows the
    /// machine down for a while changes little; those of times by the clock are in parentheses.
    pub(crate) fn print(&self) {
        println!(
            "\n{} % of the orders come, and as many go\n",
            self.rate * 100.0
        );
        println!("| query | fast | complete | REFRESH | REFRESH / fast | auto | auto / REFRESH |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        let (mut sum, mut wall_sum, mut worst) = (0.0, 0.0, 0.0_f64);
        for (name, figure) in &self.views {
            let cpu =
                |times: &[Time]| median(&times.iter().map(|time| time.cpu).collect::<Vec<_>>());
            let ratio = self::ratio(&figure.native, &figure.fast, |time| time.cpu);
            let wall_ratio = self::ratio(&figure.native, &figure.fast, |time| time.wall);
            let auto = self::ratio(&figure.auto, &figure.native, |time| time.cpu);
            sum += ratio.ln();
            wall_sum += wall_ratio.ln();
            worst = worst.max(auto);
            println!(
                "| {name} | {:.1} | {:.1} | {:.1} | {ratio:.1} ({wall_ratio:.1}) | {:.1} {} | {auto:.2} |",
                cpu(&figure.fast),
                cpu(&figure.complete),
                cpu(&figure.native),
                cpu(&figure.auto),
                figure.methods.join(" "),
            );
        }
        #[allow(clippy::cast_precision_loss)]
        let count = self.views.len() as f64;
        println!(
            "| geometric mean | | | | {:.1} ({:.1}) | worst | {worst:.2} |",
            (sum / count).exp(),
            (wall_sum / count).exp()
        );
    }
}

/// The median of the rounds' ratios.
fn ratio(times: &[Time], by: &[Time], of: impl Fn(&Time) -> f64) -> f64 {
    let ratios: Vec<f64> = times
        .iter()
        .zip(by)
        .map(|(time, by)| of(time) / of(by))
        .collect();
    median(&ratios)
}
