//! The table of guarantees and stores, and its completeness check.

use std::{collections::BTreeMap, fmt};

use super::{
    lines::LINES,
    run::{Ended, Run},
};

/// The stores: the module that names one in a test's name, and its heading.
const STORES: [(&str, &str); 7] = [
    ("ipc", "ipc"),
    ("redis", "Redis"),
    ("redis_cluster", "Redis Cluster"),
    ("mongo", "MongoDB"),
    ("postgres", "PostgreSQL"),
    ("mariadb", "MariaDB"),
    ("sqlite", "SQLite"),
];

/// Lines that concern only some stores, these stores, and the reason.
const ONLY: &[(&str, &[&str], &str)] = &[
    (
        "S22",
        &["ipc"],
        "these attacks use the socket of the owner process; the other stores have no such socket",
    ),
    ("S25", &["ipc"], "bodies are bounded before the first store call"),
    (
        "S26",
        &["ipc"],
        "the servers of the other stores set the limits and do not distinguish users from visitors",
    ),
    ("S27", &["ipc"], "the output of settings does not depend on the store"),
    ("S29", &["ipc"], "the primary serves the metrics; no store takes part"),
    ("S30", &["ipc"], "the other stores use no socket of this project"),
    (
        "H35",
        &["redis", "mongo"],
        "the test undoes a rotation directly in the database; the session layer implements the rule",
    ),
];

/// The state of a guarantee for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// This number of tests passed, and none failed.
    Passed(usize),
    /// A test has failed.
    Failed,
    /// No test exists, or a test was skipped.
    Missing,
    /// The guarantee does not concern the store.
    Outside,
}

/// The cells of all guarantees and stores. `Display` prints Markdown.
#[derive(Debug)]
pub struct Table {
    /// When it was made.
    date: String,
    /// One row per guarantee.
    rows: [[Cell; STORES.len()]; LINES.len()],
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Table {
    /// The table of a run on this day.
    #[must_use]
    pub fn of(run: &Run, date: &str) -> Self {
        let mut ended: BTreeMap<(String, &str), Vec<Ended>> = BTreeMap::new();
        for (name, how) in run.tests() {
            for (line, store) in proves(name) {
                ended.entry((line, store)).or_default().push(how);
            }
        }
        let rows = LINES.map(|(line, _)| {
            STORES.map(|(store, _)| {
                let all = ended.get(&(line.to_owned(), store)).map_or(&[][..], Vec::as_slice);
                match all.iter().max() {
                    Some(Ended::Failed) => Cell::Failed,
                    Some(Ended::Passed) => Cell::Passed(all.len()),
                    _ if ONLY
                        .iter()
                        .any(|(only, stores, _)| *only == line && !stores.contains(&store)) =>
                    {
                        Cell::Outside
                    }
                    Some(Ended::Skipped) | None => Cell::Missing,
                }
            })
        });
        let [passed, failed, skipped] =
            [Ended::Passed, Ended::Failed, Ended::Skipped].map(|how| run.count(how));
        Self { date: date.to_owned(), rows, passed, failed, skipped }
    }

    /// Whether every cell has a passed test or does not apply, and no test failed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed == 0 && self.cells(Cell::Failed) + self.cells(Cell::Missing) == 0
    }

    fn cells(&self, which: Cell) -> usize {
        self.rows.iter().flatten().filter(|cell| **cell == which).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} |", STORES.map(|(_, heading)| heading).join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(STORES.len()))?;
        for ((line, says), cells) in LINES.iter().zip(&self.rows) {
            writeln!(f, "| {line} {says} | {} |", cells.map(|cell| cell.to_string()).join(" | "))?;
        }
        write!(
            f,
            "\n{}: {} tests passed, {} failed, {} skipped; ",
            self.date, self.passed, self.failed, self.skipped
        )?;
        writeln!(
            f,
            "{} cells failed, {} are missing.",
            self.cells(Cell::Failed),
            self.cells(Cell::Missing)
        )?;
        for (line, stores, why) in ONLY {
            writeln!(f, "{line} concerns {} only: {why}.", stores.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(tests) => write!(f, "{tests}"),
            Self::Failed => f.write_str("FAILED"),
            Self::Missing => f.write_str("MISSING"),
            Self::Outside => f.write_str("–"),
        }
    }
}

/// The cells that a test of this name is for.
fn proves(name: &str) -> Vec<(String, &'static str)> {
    let mut parts: Vec<_> = name.split("::").collect();
    let function = parts.pop().unwrap_or_default();
    let Some((store, _)) = STORES.iter().find(|(store, _)| parts.contains(store)) else {
        return Vec::new();
    };
    let ids = function.split('_').take_while(|word| is_id(word));
    ids.map(|id| (id.to_ascii_uppercase(), *store)).collect()
}

fn is_id(word: &str) -> bool {
    matches!(word.as_bytes(), [b'h' | b's', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which these tests have passed.
    fn passed(names: impl IntoIterator<Item = String>) -> Run {
        let mut run = Run::default();
        for name in names {
            assert!(run.take(&format!("        PASS [   0.010s] (2/4) tests::http {name}")));
        }
        run
    }

    /// The names of a test for each cell.
    fn all() -> impl Iterator<Item = String> {
        let cells = LINES
            .iter()
            .flat_map(|(line, _)| STORES.map(|(store, _)| (line.to_ascii_lowercase(), store)));
        let only = |line: &str| {
            ONLY.iter()
                .find(|(only, _, _)| only.eq_ignore_ascii_case(line))
                .map(|(_, stores, _)| *stores)
        };
        let concerned = cells
            .filter(move |(line, store)| only(line).is_none_or(|stores| stores.contains(store)));
        concerned.map(|(line, store)| format!("hostile_requests::{store}::{line}_x"))
    }

    /// The cells of a line, as they are printed.
    fn row(table: &Table, line: &str) -> String {
        let text = table.to_string();
        let row = text
            .lines()
            .find(|row| row.starts_with(&format!("| {line} ")))
            .expect("a row for each line");
        row.split_once(" | ").expect("cells").1.trim_end_matches(" |").to_owned()
    }

    #[test]
    fn lines_have_all_ids_of_the_checklist() {
        // H26 is about a second web framework.
        let ids = (1..=25)
            .chain(27..=36)
            .map(|n| format!("H{n:02}"))
            .chain((1..=31).map(|n| format!("S{n:02}")));
        assert!(LINES.iter().map(|(id, _)| (*id).to_owned()).eq(ids));
        assert!(LINES.iter().all(|(_, says)| !says.is_empty() && !says.contains('|')));
    }

    #[test]
    fn test_name_determines_the_cells() {
        let of = |name: &str| {
            proves(name)
                .into_iter()
                .map(|(line, store)| format!("{line} {store}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("hostile_requests::redis_cluster::s15_s16_hostile_text_s17"),
            ["S15 redis_cluster", "S16 redis_cluster"]
        );
        assert_eq!(of("socket_attacks::ipc::s22_x"), ["S22 ipc"]);
        assert_eq!(of("outages::own_redis::h18_x"), [""; 0]);
        assert_eq!(of("timing::s14_x"), [""; 0]);
        assert_eq!(of("ipc::h1_x"), [""; 0]);
        assert_eq!(of("mongo_set::h18_x"), [""; 0]);
    }

    #[test]
    fn table_with_a_missing_cell_is_incomplete() {
        let table = Table::of(&passed(all()), "2026-11-26");
        assert!(table.is_whole(), "{table}");
        let text = table.to_string();
        assert!(text.starts_with(
            "| | ipc | Redis | Redis Cluster | MongoDB | PostgreSQL | MariaDB | SQLite |\n|---|---|---|---|---|---|---|---|\n| H01 "
        ));
        assert_eq!(row(&table, "S22"), "1 | – | – | – | – | – | –");
        assert_eq!(
            text.lines().filter(|text| text.ends_with("| 1 | 1 | 1 | 1 | 1 | 1 | 1 |")).count(),
            LINES.len() - ONLY.len(),
            "{table}"
        );
        for gone in all().step_by(11) {
            let table = Table::of(&passed(all().filter(|name| *name != gone)), "2026-11-26");
            assert!(!table.is_whole() && table.cells(Cell::Missing) == 1, "{gone}: {table}");
        }
        assert!(!Table::of(&Run::default(), "2026-11-26").is_whole());
    }

    #[test]
    fn failed_or_skipped_test_fails_its_cell() {
        let mut run = passed(all());
        assert!(run.take("        FAIL [   0.010s] (2/4) tests::http other::ipc::s15_s16_more"));
        let table = Table::of(&run, "2026-11-26");
        assert!(!table.is_whole() && row(&table, "S16").starts_with("FAILED | 1 |"), "{table}");

        let mut run = passed(all());
        assert!(run.take("        FAIL [   0.010s] (2/4) tests::http timing::s14_in_no_cell"));
        assert!(
            !Table::of(&run, "2026-11-26").is_whole(),
            "a failure outside the cells also counts"
        );

        let mut run = passed(all().chain(["other::mongo::h18_more".to_owned()]));
        assert!(!run.take("    SKIPPED, mongo is missing"));
        let table = Table::of(&run, "2026-11-26");
        assert!(
            !table.is_whole() && row(&table, "H18").starts_with("1 | 1 | 1 | MISSING | 1 |"),
            "{table}"
        );
    }

    #[test]
    fn tests_of_one_cell_are_counted() {
        let table =
            Table::of(&passed(all().chain(["other::sqlite::s23_more".to_owned()])), "2026-11-26");
        assert!(table.is_whole() && row(&table, "S23") == "1 | 1 | 1 | 1 | 1 | 1 | 2", "{table}");
    }
}
