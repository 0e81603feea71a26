//! The notation of the transcripts, and what runs them.
//!
//! ```text
//! # a remark
//! file NAME              the indented lines below are written to that file
//! $ get pods             kubectl must succeed (`$!`: must fail, `$5`: must end with that code)
//! $ [1.28+] NAME=x events   only from that version on; with a variable in the environment
//! < text                 a line of its standard input
//!   words                must be among what it prints, on either output
//!   ! words              must not be
//! ~ get pods             again and again until it succeeds with what is expected
//! = one two              two files are the same
//! ```
//!
//! `{ns}`, `{node}`, `{image}`, `{here}` and a few more stand for what the stage says.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::stage::{Finished, Place};

/// What is awaited may take this long on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// What took longer is named.
const LONG: Duration = Duration::from_secs(20);

/// How a command has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Success,
    Failure,
    Code(i32),
    /// Success, some time.
    Eventually,
}

#[derive(Debug)]
struct Step<'a> {
    line: usize,
    ending: Ending,
    command: &'a str,
    input: String,
    expected: Vec<&'a str>,
}

/// Runs a transcript to its end; answers with what was not as it should be.
pub(crate) fn run(place: &Place, name: &str, text: &str) -> Vec<String> {
    let text = place.fill(text);
    let mut failures = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let mut block = Vec::new();
        while let Some((_, line)) =
            lines.next_if(|(_, l)| l.starts_with("  ") || l.starts_with('<'))
        {
            block.push(line);
        }
        if let Some(file) = line.strip_prefix("file ") {
            let body: Vec<&str> = block.iter().map(|line| &line[2..]).collect();
            place.write(file, &(body.join("\n") + "\n"));
        } else if let Some(files) = line.strip_prefix("= ") {
            let same = files.split(' ').map(|file| place.read(file)).collect::<Vec<_>>();
            if same[0].is_empty() || same[0] != same[1] {
                failures.push(format!("{name}:{}: {files} differ", index + 1));
            }
        } else if let Some(step) = Step::read(place, index + 1, line, &block)
            && let Err(problem) = step.run(place)
        {
            let (version, line) = (&place.kubectl.version, step.line);
            let failure = format!("kubectl {version} {name}:{line}: {}\n{problem}", step.command);
            // At once, and little besides: what is shown of a long output may be its beginning.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failures.push(failure);
        }
    }
    failures
}

impl<'a> Step<'a> {
    fn read(place: &Place, line: usize, text: &'a str, block: &[&'a str]) -> Option<Step<'a>> {
        let (mark, command) = text.split_once(' ')?;
        let ending = match mark {
            "$" => Ending::Success,
            "$!" => Ending::Failure,
            "~" => Ending::Eventually,
            _ => Ending::Code(mark.strip_prefix('$')?.parse().ok()?),
        };
        let mut command = command;
        if let Some((version, rest)) =
            command.strip_prefix('[').and_then(|rest| rest.split_once("+] "))
        {
            if place.kubectl.minor() < minor(version) {
                return None;
            }
            command = rest;
        }
        let input = block.iter().filter_map(|line| line.strip_prefix('<'));
        let expected = block.iter().filter_map(|line| line.strip_prefix("  "));
        Some(Step {
            line,
            ending,
            command,
            input: input
                .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
                .collect(),
            expected: expected.collect(),
        })
    }

    fn run(&self, place: &Place) -> Result<(), String> {
        let (variables, words) = split(self.command);
        let start = Instant::now();
        let deadline = start + SOON;
        loop {
            let finished = place.kubectl(&variables, &words, &self.input);
            let Err(problem) = self.judge(&finished) else {
                let (version, took) = (&place.kubectl.version, start.elapsed());
                if took > LONG {
                    let command = self.command;
                    let _ = writeln!(std::io::stderr(), "{version} took {took:.1?}: {command}");
                }
                return Ok(());
            };
            if self.ending != Ending::Eventually || Instant::now() > deadline {
                return Err(problem);
            }
            // There is nothing to wait for but kubectl itself, which takes a while.
        }
    }

    fn judge(&self, finished: &Finished) -> Result<(), String> {
        let printed = narrow(&finished.output);
        let ended_well = match self.ending {
            Ending::Success | Ending::Eventually => finished.code == 0,
            Ending::Failure => finished.code == 1,
            Ending::Code(code) => finished.code == code,
        };
        let mut problem = String::new();
        if !ended_well {
            problem.push_str(&format!("  ended with {}, not {:?}\n", finished.code, self.ending));
        }
        for expected in &self.expected {
            match expected.strip_prefix("! ") {
                Some(unwanted) if printed.contains(&narrow(unwanted)) => {
                    problem.push_str(&format!("  has {unwanted:?}\n"));
                }
                None if !printed.contains(&narrow(expected)) => {
                    problem.push_str(&format!("  lacks {expected:?}\n"));
                }
                _ => {}
            }
        }
        if problem.is_empty() {
            return Ok(());
        }
        let output: String = finished.output.chars().take(1500).collect();
        Err(format!("{problem}  output: {}", output.trim_end().replace('\n', "\n    ")))
    }
}

/// Columns are as wide as what happens to stand in them.
fn narrow(text: &str) -> String {
    let mut narrow = String::with_capacity(text.len());
    for c in text.chars() {
        if c != ' ' || !narrow.ends_with(' ') {
            narrow.push(c);
        }
    }
    narrow
}

/// `1.28` -> 28.
pub(crate) fn minor(version: &str) -> u32 {
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default()
}

/// Words as a shell would see them, with the variables that lead them.
fn split(command: &str) -> (Vec<(String, String)>, Vec<String>) {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for c in command.chars() {
        match (quote, c) {
            (None, '\'') => (quote, begun) = (Some(c), true),
            (Some(open), close) if open == close => quote = None,
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    let is_variable = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        })
    };
    let count = words.iter().take_while(|word| is_variable(word)).count();
    let variables = words.drain(..count);
    let variables = variables
        .map(|word| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())))
        .map(Option::unwrap_or_default)
        .collect();
    (variables, words)
}

#[test]
fn words_are_a_shells() {
    let (variables, words) = split("EDITOR=true patch cm a -p '{\"a\": \"b c\"}' --x=y");
    assert_eq!(variables, [("EDITOR".to_owned(), "true".to_owned())]);
    assert_eq!(words, ["patch", "cm", "a", "-p", "{\"a\": \"b c\"}", "--x=y"]);
    assert_eq!((minor("1.28"), minor("1.9")), (28, 9));
}
