//! Renders metrics in the text format of Prometheus, version 0.0.4.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::snapshot::{BOUNDS, Distribution, Series, Totals, Value};

/// The content type of the text.
pub(super) const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders all series. Series with the same name follow each other.
pub(super) fn render(totals: &Totals, help: &BTreeMap<String, String>) -> String {
    let (mut text, mut name) = (String::new(), "");
    for (series, value) in &totals.0 {
        if series.name != name {
            name = &series.name;
            head(&mut text, name, value, help.get(name));
        }
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Counter(count) => writeln!(text, "{name}{} {count}", labels(series, None)),
            Value::Gauge(level) => writeln!(text, "{name}{} {level}", labels(series, None)),
            Value::Histogram(times) => histogram(&mut text, series, times),
        };
    }
    text
}

fn head(text: &mut String, name: &str, value: &Value, help: Option<&String>) {
    let kind = match value {
        Value::Counter(_) => "counter",
        Value::Gauge(_) => "gauge",
        Value::Histogram(_) => "histogram",
    };
    if let Some(help) = help {
        let _ = writeln!(text, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"));
    }
    let _ = writeln!(text, "# TYPE {name} {kind}");
}

/// Writes the cumulative buckets, the sum and the count.
fn histogram(text: &mut String, series: &Series, times: &Distribution) -> std::fmt::Result {
    let (name, mut cumulative) = (&series.name, 0);
    let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&times.buckets) {
        cumulative += count;
        writeln!(text, "{name}_bucket{} {cumulative}", labels(series, Some(&bound)))?;
    }
    let sum = Duration::from_nanos(times.nanoseconds);
    writeln!(
        text,
        "{name}_sum{} {}.{:09}",
        labels(series, None),
        sum.as_secs(),
        sum.subsec_nanos()
    )?;
    writeln!(text, "{name}_count{} {cumulative}", labels(series, None))
}

fn labels(series: &Series, bound: Option<&str>) -> String {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let own = series.labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
    let all: Vec<_> = own.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_rendered_and_texts_are_escaped() {
        let series = |name: &str, label: Option<(&str, &str)>| Series {
            name: name.to_owned(),
            labels: label
                .into_iter()
                .map(|(label, value)| (label.to_owned(), value.to_owned()))
                .collect(),
        };
        let mut buckets = vec![0; BOUNDS.len() + 1];
        (buckets[0], buckets[4], buckets[16]) = (2, 1, 4);
        let totals = Totals(BTreeMap::from([
            (series("a_total", Some(("kind", "b\\\"\n"))), Value::Counter(3)),
            (series("a_total", Some(("kind", "c"))), Value::Counter(4)),
            (
                series("h_seconds", None),
                Value::Histogram(Distribution { buckets, nanoseconds: 1_000_000_005 }),
            ),
            (series("z", None), Value::Gauge(1.5)),
        ]));
        let text = render(
            &totals,
            &BTreeMap::from([("a_total".to_owned(), "Of \\ and\nmore.".to_owned())]),
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "# HELP a_total Of \\\\ and\\nmore.",
                "# TYPE a_total counter",
                "a_total{kind=\"b\\\\\\\"\\n\"} 3",
                "a_total{kind=\"c\"} 4",
                "# TYPE h_seconds histogram",
                "h_seconds_bucket{le=\"0.00005\"} 2",
            ]
        );
        assert_eq!(lines[9], "h_seconds_bucket{le=\"0.001\"} 3", "{text}");
        assert_eq!(
            lines[20..],
            [
                "h_seconds_bucket{le=\"5\"} 3",
                "h_seconds_bucket{le=\"+Inf\"} 7",
                "h_seconds_sum 1.000000005",
                "h_seconds_count 7",
                "# TYPE z gauge",
                "z 1.5"
            ][..]
        );
    }
}
