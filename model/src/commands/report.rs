//! How a report reads: a few lines for people, one JSON object for programs.

use model::evaluate::Report;

/// For people.
pub fn text(report: &Report) -> String {
    let mut lines = vec![
        format!(
            "windows    {} normal, {} anomalous",
            report.normal_windows, report.anomalous_windows
        ),
        format!("AUROC      {}", number(report.auroc)),
        format!("threshold  {:.4}", report.threshold),
        format!(
            "there      precision {}, recall {}, false alarms {} of normal windows",
            number(report.precision),
            number(report.recall),
            percent(report.false_alarms)
        ),
    ];
    if report.noop_windows > 0 {
        lines.push(format!(
            "noop       {} of {} windows alarm (should be none)",
            report.noop_alarms, report.noop_windows
        ));
    }
    if !report.classes.is_empty() {
        let width = report
            .classes
            .iter()
            .map(|class| class.class.len())
            .max()
            .unwrap_or(0)
            .max("class".len());
        lines.push(format!(
            "{:width$}  {:>13}  {:>13}  AUROC",
            "class", "windows found", "acts found"
        ));
        for class in &report.classes {
            let windows = format!("{} of {}", class.found_windows, class.windows);
            let acts = format!("{} of {}", class.found_acts, class.acts);
            lines.push(format!(
                "{:width$}  {windows:>13}  {acts:>13}  {}",
                class.class,
                number(class.auroc)
            ));
        }
    }
    lines.join("\n")
}

fn number(value: Option<f64>) -> String {
    value.map_or(
        "unknown (the labels have one side only)".to_owned(),
        |value| format!("{value:.3}"),
    )
}

fn percent(value: Option<f64>) -> String {
    value.map_or("unknown".to_owned(), |value| {
        format!("{:.1} %", value * 100.0)
    })
}
