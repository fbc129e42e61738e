//! Prometheus' text format, version 0.0.4, read strictly.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    client::{Request, send},
    watched::Calls,
};

/// Labels of a series, by name.
pub type Labels = BTreeMap<String, String>;

/// All series of one answer.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    families: BTreeMap<String, Family>,
    text: String,
}

/// All series of one name.
#[derive(Debug, Clone, Default)]
struct Family {
    kind: String,
    /// The values, by the name with its suffix and the labels.
    samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    /// Reads the metrics of this address.
    ///
    /// # Panics
    /// If the server does not answer, or if the format is wrong.
    pub async fn of(address: SocketAddr) -> Self {
        let response =
            send(address, &Request::get("/metrics")).await.expect("an answer").expect(200);
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        Self::parse(&response.text())
    }

    /// Parses metrics.
    ///
    /// # Panics
    /// If the format of a line is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self { text: text.to_owned(), ..Self::default() };
        let mut current = String::new();
        let mut helped = String::new();
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("help has a name and words");
                assert!(unescaped(words, false).is_some(), "{line}");
                name.clone_into(&mut helped);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type has a name and a kind");
                assert!(is_name(name, ":"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert_eq!(helped, name, "its help stands before it");
                let family = Family { kind: kind.to_owned(), ..Family::default() };
                assert!(
                    scrape.families.insert(name.to_owned(), family).is_none(),
                    "the lines of {name} do not stand together"
                );
                name.clone_into(&mut current);
            } else {
                let (name, labels, value) = sample(line);
                let family = scrape
                    .families
                    .get_mut(&current)
                    .unwrap_or_else(|| panic!("no type before {line}"));
                let suffix = name
                    .strip_prefix(&current)
                    .unwrap_or_else(|| panic!("{line} is not of {current}"));
                let suffixes: &[&str] =
                    if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line} among those of {current}");
                if family.kind == "counter" {
                    assert!(value >= 0.0 && value.fract() == 0.0, "{line}");
                }
                assert!(family.samples.insert((name, labels), value).is_none(), "twice: {line}");
            }
        }
        for (name, family) in
            scrape.families.iter().filter(|(_, family)| family.kind == "histogram")
        {
            family.check_histogram(name);
        }
        scrape
    }

    /// The value of one series.
    ///
    /// # Panics
    /// If it is missing.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
            .collect();
        let key = (name.to_owned(), labels);
        let found = self.families.values().find_map(|family| family.samples.get(&key));
        *found.unwrap_or_else(|| panic!("no {key:?} in:\n{}", self.text))
    }

    /// The number of store calls of this kind with this outcome.
    #[must_use]
    pub fn calls(&self, store: &str, operation: &str, outcome: &str) -> f64 {
        self.value(
            "session_store_calls_total",
            &[("store", store), ("operation", operation), ("outcome", outcome)],
        )
    }

    /// The number of store calls of each kind, with any outcome.
    ///
    /// # Panics
    /// If a series has no operation.
    #[must_use]
    pub fn all_calls(&self) -> Calls {
        let mut calls = Calls::default();
        let samples = self.families.get("session_store_calls_total").map(|family| &family.samples);
        for ((_, labels), value) in samples.into_iter().flatten() {
            let count = match labels.get("operation").expect("each call is an operation").as_str() {
                "load" => &mut calls.loads,
                "create" => &mut calls.creates,
                // Commits that only extend a lifetime have their own operation.
                "commit" | "touch" => &mut calls.commits,
                "delete" => &mut calls.deletes,
                "ping" | "delete_expired" => continue,
                _ => &mut calls.others,
            };
            // The counts of a test are small.
            *count += format!("{value:.0}").parse::<usize>().expect("a count");
        }
        calls
    }

    /// Whether any series has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.families.contains_key(name)
    }

    /// Fails if a counter has become smaller or is missing since `before`.
    ///
    /// # Panics
    /// If one has.
    pub fn assert_not_below(&self, before: &Self) {
        for (name, family) in before.families.iter().filter(|(_, family)| family.kind != "gauge") {
            let now = &self.families.get(name).unwrap_or_else(|| panic!("{name} has gone")).samples;
            for (series, was) in &family.samples {
                let is = now.get(series).unwrap_or_else(|| panic!("{series:?} has gone"));
                assert!(is >= was, "{series:?} fell from {was} to {is}");
            }
        }
    }

    /// The text of the answer.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Family {
    /// Checks the buckets of a histogram: bounds and counts rise, and that of infinity is the
    /// total.
    fn check_histogram(&self, name: &str) {
        let mut spreads: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((of, labels), value) in &self.samples {
            if *of == format!("{name}_bucket") {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().expect("a bound is a number")
                };
                spreads.entry(labels).or_default().push((bound, *value));
            }
        }
        let counts = self.samples.keys().filter(|(of, _)| *of == format!("{name}_count")).count();
        assert_eq!(counts, spreads.len(), "each {name} has buckets and a count");
        for (labels, mut buckets) in spreads {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(
                buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1),
                "{name} {labels:?} {buckets:?}"
            );
            let last = buckets.last().expect("a bucket");
            assert!(last.0.is_infinite(), "{name} {labels:?} ends at {last:?}");
            let count =
                self.samples.get(&(format!("{name}_count"), labels.clone())).expect("a count");
            let sum = self.samples.get(&(format!("{name}_sum"), labels.clone())).expect("a sum");
            assert!(
                last.1.total_cmp(count).is_eq() && *sum >= 0.0,
                "{name} {labels:?}: {last:?}, count {count}, sum {sum}"
            );
        }
    }
}

/// One line with a value.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, ":"), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) =
                rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(is_name(label, ""), "{line}");
            let end = closing(after).unwrap_or_else(|| panic!("a label without end: {line}"));
            let value =
                unescaped(&after[..end], true).unwrap_or_else(|| panic!("a wrong escape: {line}"));
            assert!(labels.insert(label.to_owned(), value).is_none(), "a label twice: {line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("no end of the labels: {line}"));
    }
    let value =
        rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space before the value: {line}"));
    assert!(value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{line}");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

fn is_name(name: &str, more: &str) -> bool {
    let may = |at: usize, byte: char| {
        byte.is_ascii_alphabetic()
            || byte == '_'
            || more.contains(byte)
            || at > 0 && byte.is_ascii_digit()
    };
    !name.is_empty() && name.chars().enumerate().all(|(at, byte)| may(at, byte))
}

/// The position of the quote that ends a label.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// A text without its escapes; `None` if one is invalid.
fn unescaped(text: &str, quoted: bool) -> Option<String> {
    let (mut plain, mut rest) = (String::new(), text.chars());
    while let Some(letter) = rest.next() {
        match (letter, quoted) {
            ('"', true) => return None,
            ('\\', _) => match (rest.next()?, quoted) {
                ('n', _) => plain.push('\n'),
                ('\\', _) => plain.push('\\'),
                ('"', true) => plain.push('"'),
                _ => return None,
            },
            _ => plain.push(letter),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    const GOOD: &str = "# HELP a_total Of \\\\ and\\n.\n# TYPE a_total counter\na_total{k=\"x\\\"\\\\,}\\n\",l=\"\"} 3\n# HELP h H.\n# TYPE h histogram\n\
                        h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n# HELP g G.\n# TYPE g gauge\ng 1.5\n";

    #[test]
    fn what_is_right_is_read() {
        let scrape = Scrape::parse(GOOD);
        assert!(
            (scrape.value("a_total", &[("k", "x\"\\,}\n"), ("l", "")]) - 3.0).abs() < f64::EPSILON
        );
        assert!((scrape.value("h_sum", &[]) - 4.5).abs() < f64::EPSILON && scrape.has("g"));
        scrape.assert_not_below(&scrape.clone());
    }

    #[test]
    fn what_is_wrong_is_seen() {
        for (right, wrong) in [
            ("# TYPE a_total counter\n", ""),
            ("# HELP h H.\n", ""),
            ("a_total{", "a-total{"),
            ("a_total{k=", "a_total{k:="),
            ("\\n\",l", "\\t\",l"),
            ("l=\"\"}", "k=\"\"}"),
            ("l=\"\"}", "l=\"\""),
            ("} 3\n#", "} 3.5\n#"),
            ("} 3\n#", "} -3\n#"),
            ("} 3\n#", "}  3\n#"),
            ("counter", "count"),
            ("counter", "gauge"),
            ("h_bucket{le=\"+Inf\"} 3\n", ""),
            ("h_bucket{le=\"+Inf\"} 3", "h_bucket{le=\"+Inf\"} 1"),
            ("h_count 3", "h_count 2"),
            ("h_count 3\n", ""),
            ("h_sum 4.5\n", ""),
            ("g 1.5\n", "g 1.5"),
            ("g 1.5\n", "g 1.5\ng 1.5\n"),
            ("g 1.5\n", "g_sum 1.5\n"),
            ("g 1.5\n", "g 1.5\n# HELP a_total A.\n# TYPE a_total counter\n"),
        ] {
            let changed = GOOD.replacen(right, wrong, 1);
            assert_ne!(changed, GOOD, "{right}");
            assert!(
                catch_unwind(|| Scrape::parse(&changed)).is_err(),
                "{right:?} as {wrong:?} is not seen"
            );
        }
        let (before, after) =
            (Scrape::parse(GOOD), Scrape::parse(&GOOD.replace("} 3\n#", "} 2\n#")));
        assert!(catch_unwind(|| after.assert_not_below(&before)).is_err());
    }
}
